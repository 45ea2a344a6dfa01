/**
 * @file OLMo: norms without weights, clipped queries, keys and values; OLMo 2: norms behind the branches only; OLMoE.
 */
import type { ConfigReader } from '../../config/reader.ts';
import type { TensorMap } from '../../weights/tensor-map.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertCount as expertCountOf, mixture, mlpOn, router } from '../mixture.ts';
import { expertCounts, MLP_EXPERTS, moeLayers } from '../moe.ts';
import { attnBias, qkNorm, readBase, ropesByType, slidingLayers, window } from '../read-base.ts';

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

/** Norms behind the branches, and none before them. */
export const POST_NORMS_ONLY = { norm1: false, norm2: false, postAttentionNorm: true, postMlpNorm: true } as const;
export const POST_NORM_TENSORS: TensorMap = {
  'h.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
  'h.{l}.post_mlp_norm': 'model.layers.{l}.post_feedforward_layernorm',
};

function olmo2Config(r: ConfigReader): FamilyConfig {
  const base = readBase(r, { normEps: 1e-5, rope: ROPE });
  const bias = r.bool('attention_bias', false);
  return { ...base, ...attnBias(base, bias, bias), ...qkNorm(base, 'full'), ...POST_NORMS_ONLY };
}

export const olmo2: Family = {
  modelTypes: ['olmo2'],
  config: olmo2Config,
  tensors: llamaTensors(POST_NORM_TENSORS),
};

/** OLMo 2 with windows; the old keys' scaling of the rotation is of the full layers alone. */
export const olmo3: Family = {
  modelTypes: ['olmo3'],
  config: (r) => {
    const base = olmo2Config(r);
    const sliding = slidingLayers(r, base.nLayer, (l) => (l + 1) % 4 !== 0);
    const defaults = { ...ROPE, headSize: base.headSize, maxSeq: base.contextLength };
    return {
      ...base,
      ...window(base, r.int('sliding_window', 4096), (l) => sliding[l]),
      ...ropesByType(r, defaults, sliding, null),
    };
  },
  tensors: olmo2.tensors,
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

/** OLMo 2's attention, OLMoE's experts (arXiv 2507.07024). */
export const flexOlmo: Family = {
  modelTypes: ['flex_olmo'],
  config: (r) => {
    const base = olmo2Config(r);
    const { count, perToken } = expertCountOf(r, 'num_experts', 'num_experts_per_tok', [7, 5]);
    const mlp = mixture(base, {
      router: router(perToken, { normP: r.bool('norm_topk_prob', false) ? 1 : null }),
      experts: { count, size: base.intermediateSize },
    });
    return { ...base, layer: mlpOn(mlp) };
  },
  tensors: llamaTensors({ ...POST_NORM_TENSORS, ...MLP_EXPERTS }),
};
