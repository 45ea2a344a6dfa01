/**
 * @file OLMo: norms without weights, clipped queries, keys and values; OLMo 2: norms behind the branches only; OLMoE.
 */
import { type Family, llamaTensors } from './family.ts';
import { expertCounts, MLP_EXPERTS, moeLayers } from './moe.ts';
import { attnBias, qkNorm, readBase } from './read-base.ts';

const ROPE = { fractionKeys: null };

export const olmo: Family = {
  modelTypes: ['olmo'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: null },
      normEps: 1e-5,
      norm: { kind: 'layer', affine: false },
      rope: ROPE,
    });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), clipQkv: r.positiveOrNull('clip_qkv') };
  },
  tensors: llamaTensors(),
};

export const olmo2: Family = {
  modelTypes: ['olmo2'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, rope: ROPE });
    const bias = r.bool('attention_bias', false);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...qkNorm(base, 'full'),
      norm1: false,
      norm2: false,
      postAttentionNorm: true,
      postMlpNorm: true,
    };
  },
  tensors: llamaTensors({
    'h.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
    'h.{l}.post_mlp_norm': 'model.layers.{l}.post_feedforward_layernorm',
  }),
};

export const olmoe: Family = {
  modelTypes: ['olmoe'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, rope: ROPE });
    const bias = r.bool('attention_bias', false);
    const normP = r.bool('norm_topk_prob', false) ? 1 : null;
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...qkNorm(base, 'full'),
      ...moeLayers(base, {
        ...expertCounts(r, ['num_experts', 64], ['num_experts_per_tok', 8]),
        normP,
      }),
      clipQkv: r.positiveOrNull('clip_qkv'),
      clipQkvAfterNorm: true,
    };
  },
  tensors: llamaTensors(MLP_EXPERTS),
};
