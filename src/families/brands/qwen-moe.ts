/**
 * @file Alibaba's Qwen with experts: qwen2_moe, qwen3_moe, the decoder of qwen3_vl_moe. Reference: transformers models
 * of these names.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { transposedExpertsIn } from '../mixture.ts';
import { expertCounts, MLP_EXPERTS, moeLayers } from '../moe.ts';
import { attnBias, window } from '../read-base.ts';
import { qwen2, qwen3, qwen3Vl, qwenWindow } from './qwen.ts';

/** What qwen2_moe and qwen3_moe add to the dense models. */
function qwenExperts(
  r: ConfigReader,
  base: FamilyConfig,
  nExpert: number,
  nExpertPerToken: number,
): Pick<FamilyConfig, 'moe' | 'mlpKind'> {
  const step = r.int('decoder_sparse_step', 1);
  const dense = r.has('mlp_only_layers') ? r.numbers('mlp_only_layers') : [];
  const spec = {
    ...expertCounts(r, [['num_experts', 'num_local_experts'], nExpert], ['num_experts_per_tok', nExpertPerToken]),
    intermediateSize: r.int('moe_intermediate_size', base.intermediateSize),
    normP: r.bool('norm_topk_prob', false) ? 1 : null,
    sharedSize: r.int('shared_expert_intermediate_size', 0, 0),
  };
  const onLayer = (l: number) => !dense.includes(l) && (l + 1) % step === 0;
  return moeLayers(base, { ...spec, sharedGate: spec.sharedSize > 0 }, onLayer);
}

export const qwen2Moe: Family = {
  modelTypes: ['qwen2_moe'],
  config: (r) => {
    const base = qwen2.config(r);
    return { ...base, ...attnBias(base, r.bool('qkv_bias', true), false), ...qwenExperts(r, base, 60, 4) };
  },
  tensors: llamaTensors({
    ...MLP_EXPERTS,
    'h.{l}.mlp.shared.fc_1': 'model.layers.{l}.mlp.shared_expert.gate_proj',
    'h.{l}.mlp.shared.fc_2': 'model.layers.{l}.mlp.shared_expert.up_proj',
    'h.{l}.mlp.shared.proj': 'model.layers.{l}.mlp.shared_expert.down_proj',
    'h.{l}.mlp.shared_gate': 'model.layers.{l}.mlp.shared_expert_gate',
  }),
};

export const qwen3Moe: Family = {
  modelTypes: ['qwen3_moe'],
  config: (r) => {
    const base = qwen3.config(r);
    // Unlike the dense models, a window is for all layers.
    return { ...base, ...window(base, qwenWindow(r)), ...qwenExperts(r, base, 128, 8) };
  },
  tensors: llamaTensors(MLP_EXPERTS),
};

/** Qwen3-VL's decoder with experts, all of them in one tensor each way. */
export const qwen3VlMoe: Family = {
  modelTypes: ['qwen3_vl_moe_text'],
  config: (r) => {
    const base = qwen3Vl.config(r);
    r.refuse('norm_topk_prob', 'only true is supported in this family', [true]);
    const experts = qwenExperts(r, base, 60, 4);
    return { ...base, ...experts, moe: { ...experts.moe!, normP: 1 } };
  },
  tensors: llamaTensors({
    'h.{l}.mlp.gate': 'model.layers.{l}.mlp.gate',
    // Newer versions of transformers save what they have in memory, [out, in].
    ...transposedExpertsIn('model.layers.{l}.mlp.experts', true),
  }),
};
