/**
 * @file Arcee's models. AFM (arcee): Llama with a plain MLP of squared ReLUs. Trinity (afmoe): windows with rotation
 * and full layers without, a gate behind attention, sigmoid routers. Reference: transformers models/arcee,
 * models/afmoe.
 */
import type { MoeMlp } from '../../config/mlp-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, llamaTensors, plainMlpTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertCount, expertsIn, mixture, router, sharedTensors } from '../mixture.ts';
import { attnBias, qkNorm, readBase, ropeOn, slidingLayers, ungatedMlp, window, withAttention } from '../read-base.ts';

export const arcee: Family = {
  modelTypes: ['arcee'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, activation: 'relu2', rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...ungatedMlp(base, r.bool('mlp_bias', false)) };
  },
  tensors: llamaTensors(plainMlpTensors('model.layers.{l}.mlp.up_proj', 'model.layers.{l}.mlp.down_proj')),
};

function trinityMixture(r: ConfigReader, base: FamilyConfig): MoeMlp {
  const { count, perToken } = expertCount(r, 'num_experts', 'num_experts_per_tok', [64, 6]);
  const size = r.int('moe_intermediate_size', 1408);
  const shared = r.int('num_shared_experts', 2, 0);
  const scale = r.positive('route_scale', 1);
  r.refuse('score_func', 'only "sigmoid" is supported', ['sigmoid']);
  r.refuse('route_norm', 'only true is supported', [true]);
  for (const key of ['n_group', 'topk_group', 'num_expert_groups', 'num_limited_groups'])
    r.refuse(key, 'groups of experts are not supported in this family', [0, 1]);
  r.skip('load_balance_coeff', 'use_grouped_mm'); // of training, and of how products are made
  return mixture(base, {
    router: router(perToken, { score: 'sigmoid', choiceBias: true, normP: 1, normEps: 1e-20, scale }),
    experts: { count, size },
    shared: shared > 0 ? { size: size * shared, gate: false } : null,
  });
}

export const afmoe: Family = {
  modelTypes: ['afmoe'],
  config: (r) => {
    const base = readBase(r, { headSize: 128, normEps: 1e-5, rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    const every = r.int('global_attn_every_n_layers', 4);
    const sliding = slidingLayers(r, base.nLayer, (l) => (l + 1) % every !== 0);
    const mlp = trinityMixture(r, base);
    const dense = r.int('num_dense_layers', 1, 0);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...qkNorm(base, 'head'),
      ...ropeOn(base, (l) => sliding[l]),
      ...window(base, r.int('sliding_window', 2048), (l) => sliding[l]),
      postAttentionNorm: true,
      postMlpNorm: true,
      embedScale: r.bool('mup_enabled', false) ? Math.sqrt(base.nEmbd) : 1,
      layer: (layer, l) => withAttention(l < dense ? layer : { ...layer, mlp }, { gate: true }),
    };
  },
  tensors: llamaTensors({
    'h.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
    'h.{l}.norm_2': 'model.layers.{l}.pre_mlp_layernorm',
    'h.{l}.post_mlp_norm': 'model.layers.{l}.post_mlp_layernorm',
    'h.{l}.attn.gate': 'model.layers.{l}.self_attn.gate_proj',
    'h.{l}.mlp.gate': 'model.layers.{l}.mlp.router.gate',
    'h.{l}.mlp.choice_bias': { bare: 'model.layers.{l}.mlp.expert_bias' },
    ...expertsIn('model.layers.{l}.mlp.experts'),
    ...sharedTensors('model.layers.{l}.mlp.shared_experts'),
  }),
};
