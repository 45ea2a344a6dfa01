/**
 * @file Tencent's Hunyuan: queries and keys are normalized after they are rotated. Reference: transformers
 * models/hunyuan_v1_*.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { range } from '../../util/numbers.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertsIn, MAX_EXPERTS, mixture, router, sharedTensors } from '../mixture.ts';
import { attnBias, qkNorm, readBase } from '../read-base.ts';

function hunyuanBase(r: ConfigReader): FamilyConfig {
  const base = readBase(r, {
    normEps: 1e-5,
    keys: { headSize: ['head_dim', 'attention_head_dim'] },
    rope: { fractionKeys: null },
  });
  const bias = r.bool('attention_bias', false);
  r.refuse('use_cla', 'keys that layers share are not supported');
  r.refuse('use_qk_norm', 'only true is supported', [true]);
  r.refuse('norm_type', 'only "rms" is supported', ['rms']);
  r.skip(
    'pad_id',
    'mask_init_id',
    'eod_token_id',
    'cla_share_factor',
    'im_start_id',
    'im_end_id',
    'im_newline_id',
    'text_start_id',
    'text_end_id',
    'org_vocab_size',
  );
  return { ...base, ...attnBias(base, bias, bias), ...qkNorm(base, 'head', { place: 'after-rope' }) };
}

const QK_NORMS = {
  'h.{l}.attn.norm_q': 'model.layers.{l}.self_attn.query_layernorm',
  'h.{l}.attn.norm_k': 'model.layers.{l}.self_attn.key_layernorm',
};

export const hunyuanDense: Family = {
  modelTypes: ['hunyuan_v1_dense'],
  config: hunyuanBase,
  tensors: llamaTensors(QK_NORMS),
};

export const hunyuanMoe: Family = {
  modelTypes: ['hunyuan_v1_moe'],
  config: (r) => {
    const base = hunyuanBase(r);
    const L = base.nLayer;
    const counts = r.ints('num_experts', L, 1, 1, MAX_EXPERTS);
    const perToken = r.ints('moe_topk', L, 1, 1, MAX_EXPERTS);
    const sizes = r.ints('moe_intermediate_size', L, base.intermediateSize);
    const wrong = range(L).find((l) => perToken[l] > counts[l]);
    if (wrong !== undefined)
      r.fail('moe_topk', `is ${perToken[wrong]}, but layer ${wrong} has ${counts[wrong]} experts`);
    r.refuse('norm_topk_prob', 'only true is supported', [true]);
    r.refuse('routed_scaling_factor', 'only 1 is supported', [1]);
    for (const key of ['group_limited_greedy', 'n_group', 'topk_group'])
      r.refuse(key, 'groups of experts are not supported in this family', [false, 0, 1]);
    r.refuse('moe_layer_num_skipped', 'dense layers are not supported', [0]);
    r.skip(
      'use_mixed_mlp_moe',
      'num_shared_expert',
      'moe_drop_tokens',
      'moe_random_routing_dropped_token',
      'capacity_factor',
    );
    const mlps = range(L).map((l) =>
      mixture(base, {
        router: router(perToken[l], { normP: 1 }),
        experts: { count: counts[l], size: sizes[l] },
        shared: { size: base.intermediateSize, gate: false },
      }),
    );
    return { ...base, layer: (layer, l) => ({ ...layer, mlp: mlps[l] }) };
  },
  tensors: llamaTensors({
    ...QK_NORMS,
    'h.{l}.mlp.gate': 'model.layers.{l}.mlp.gate.wg',
    ...expertsIn('model.layers.{l}.mlp.experts'),
    ...sharedTensors('model.layers.{l}.mlp.shared_mlp'),
  }),
};
