/**
 * @file Qwen 3.5 and Qwen3-Next: gated delta nets (arXiv 2412.06464), and between them attention with a gate behind it.
 * Reference: transformers models/qwen3_5, qwen3_5_moe, qwen3_next.
 */
import type { GatedDelta, LayerSpec } from '../../config/layer-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import type { SegmentsOf, TensorExpr, TensorMap } from '../../weights/tensor-map.ts';
import { attentionOf, type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertCount, expertsIn, ignoreLayersBehind, mixture, mlpOn, router, sharedTensors } from '../mixture.ts';
import { attnBias, MAX_HEAD_SIZE, qkNorm, readBase, ropeOn, withAttention } from '../read-base.ts';

function deltaBase(r: ConfigReader): FamilyConfig {
  const base = readBase(r, {
    norm: { unitOffset: true },
    headSize: 256,
    nQueryGroups: 2,
    intermediateSize: (nEmbd) => nEmbd, // mixtures state none
    rope: { fraction: 0.25 },
  });
  const bias = r.bool('attention_bias', false);
  const every = r.int('full_attention_interval', 4);
  const full = fullLayers(r, base.nLayer, (l) => (l + 1) % every === 0);
  const keyHeads = r.int('linear_num_key_heads', 16, 1, MAX_HEAD_SIZE);
  const valueHeads = r.int('linear_num_value_heads', 32, 1, MAX_HEAD_SIZE);
  if (valueHeads % keyHeads !== 0)
    r.fail('linear_num_value_heads', `is ${valueHeads}, which is no multiple of the ${keyHeads} key heads`);
  const mixer: GatedDelta = {
    kind: 'gated-delta',
    keyHeads,
    valueHeads,
    keySize: r.int('linear_key_head_dim', 128, 1, MAX_HEAD_SIZE),
    valueSize: r.int('linear_value_head_dim', 128, 1, MAX_HEAD_SIZE),
    convWidth: r.int('linear_conv_kernel_dim', 4, 2, 64),
    norm: { ...base.norm, unitOffset: false },
  };
  r.skip('num_nextn_predict_layers', 'mtp_num_hidden_layers', 'mtp_use_dedicated_embeddings', 'mamba_ssm_dtype');
  r.refuse('attn_output_gate', 'only true is supported', [true]);
  return {
    ...base,
    ...attnBias(base, bias, bias),
    ...qkNorm(base, 'head'),
    ...ropeOn(base, (l) => full[l]),
    // Of text, all three positions of a token are the same.
    ropes: base.ropes.map(({ sections: _, byTurns: __, ...rope }) => rope),
    layer: (layer, l) => (full[l] ? withAttention(layer, { gate: true }) : { ...layer, mixer }),
  };
}

function fullLayers(r: ConfigReader, nLayer: number, rule: (layer: number) => boolean): boolean[] {
  const types = r.strings('layer_types', nLayer);
  return Array.from({ length: nLayer }, (_, l) => {
    const type = types?.[l] ?? (rule(l) ? 'full_attention' : 'linear_attention');
    if (type !== 'full_attention' && type !== 'linear_attention')
      r.fail('layer_types', `names "${type}"; known are full_attention and linear_attention`);
    return type === 'full_attention';
  });
}

function withExperts(
  r: ConfigReader,
  base: FamilyConfig,
  normP: 1 | null,
  on: (layer: number) => boolean,
): FamilyConfig {
  const { count, perToken } = expertCount(r, 'num_experts', 'num_experts_per_tok', [512, 10]);
  const shared = r.int('shared_expert_intermediate_size', 512, 0);
  const mlp = mixture(base, {
    router: router(perToken, { normP }),
    experts: { count, size: r.int('moe_intermediate_size', 512) },
    shared: shared > 0 ? { size: shared, gate: true } : null,
  });
  return { ...base, layer: (layer: LayerSpec, l) => mlpOn(mlp, on)(base.layer!(layer, l), l) };
}

const delta = 'model.layers.{l}.linear_attn';
const queryGate: SegmentsOf = (layer) => {
  const { heads, keySize } = attentionOf(layer);
  return { count: heads, sizes: [keySize, keySize] };
};

const SHARED: TensorMap = llamaTensors({
  // A head's rows: its query, its gate.
  'h.{l}.attn.q': { segment: 0, of: queryGate, from: 'model.layers.{l}.self_attn.q_proj' },
  'h.{l}.attn.gate': { segment: 1, of: queryGate, from: 'model.layers.{l}.self_attn.q_proj' },
  'h.{l}.delta.qkv': `${delta}.in_proj_qkv`,
  'h.{l}.delta.z': `${delta}.in_proj_z`,
  'h.{l}.delta.beta': `${delta}.in_proj_b`,
  'h.{l}.delta.decay': `${delta}.in_proj_a`,
  'h.{l}.delta.conv': { transposed: `${delta}.conv1d` },
  'h.{l}.delta.a_log': { bare: `${delta}.A_log` },
  'h.{l}.delta.dt_bias': { bare: `${delta}.dt_bias` },
  'h.{l}.delta.norm': `${delta}.norm`,
  'h.{l}.delta.out': `${delta}.out_proj`,
});

const EXPERTS: TensorMap = {
  'h.{l}.mlp.gate': 'model.layers.{l}.mlp.gate',
  ...expertsIn('model.layers.{l}.mlp.experts'),
  ...sharedTensors('model.layers.{l}.mlp.shared_expert'),
  'h.{l}.mlp.shared_gate': 'model.layers.{l}.mlp.shared_expert_gate',
};

export const qwen35: Family = {
  modelTypes: ['qwen3_5_text'],
  config: deltaBase,
  tensors: SHARED,
  ignore: [ignoreLayersBehind],
};

export const qwen35Moe: Family = {
  modelTypes: ['qwen3_5_moe_text'],
  config: (r) => withExperts(r, deltaBase(r), 1, () => true),
  tensors: { ...SHARED, ...EXPERTS },
  ignore: [ignoreLayersBehind],
};

const deltaOf = ({ mixer }: LayerSpec) => mixer as GatedDelta;

/** A key head's rows: its query, its key, the values of its value heads, and their gates. */
const perKeyHead: SegmentsOf = (layer) => {
  const { keyHeads, valueHeads, keySize, valueSize } = deltaOf(layer);
  const values = (valueHeads / keyHeads) * valueSize;
  return { count: keyHeads, sizes: [keySize, keySize, values, values] };
};
const betaAndDecay: SegmentsOf = (layer) => {
  const { keyHeads, valueHeads } = deltaOf(layer);
  return { count: keyHeads, sizes: [valueHeads / keyHeads, valueHeads / keyHeads] };
};
const qkvz = (segment: number): TensorExpr => ({ segment, of: perKeyHead, from: `${delta}.in_proj_qkvz` });
const ba = (segment: number): TensorExpr => ({ segment, of: betaAndDecay, from: `${delta}.in_proj_ba` });

export const qwen3Next: Family = {
  modelTypes: ['qwen3_next'],
  config: (r) => {
    const step = r.int('decoder_sparse_step', 1);
    const dense = r.has('mlp_only_layers') ? r.numbers('mlp_only_layers') : [];
    const normP = r.bool('norm_topk_prob', true) ? 1 : null;
    return withExperts(r, deltaBase(r), normP, (l) => !dense.includes(l) && (l + 1) % step === 0);
  },
  tensors: {
    ...SHARED,
    ...EXPERTS,
    'h.{l}.delta.qkv': {
      joined: [qkvz(0), qkvz(1), qkvz(2)],
      heights: (layer) => {
        const { keyHeads, valueHeads, keySize, valueSize } = deltaOf(layer);
        return [keyHeads * keySize, keyHeads * keySize, valueHeads * valueSize];
      },
    },
    'h.{l}.delta.z': qkvz(3),
    'h.{l}.delta.beta': ba(0),
    'h.{l}.delta.decay': ba(1),
  },
  ignore: [ignoreLayersBehind],
};
