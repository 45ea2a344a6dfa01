/**
 * @file Multi-head latent attention: DeepSeek V2 (arXiv 2405.04434) and V3 (arXiv 2412.19437), GLM 4.7 Flash, Youtu,
 * MiniCPM 3. Reference: transformers models/deepseek_v2, deepseek_v3, glm4_moe_lite, youtu, minicpm3.
 */
import type { LatentAttention, LayerSpec } from '../../config/layer-spec.ts';
import type { NormSpec } from '../../config/norm-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import type { SegmentsOf, TensorExpr, TensorMap } from '../../weights/tensor-map.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { DEEPSEEK_EXPERTS, deepseekMixture, ignoreLayersBehind } from '../mixture.ts';
import { MAX_HEAD_SIZE, readBase } from '../read-base.ts';

/** The norms of the latent vectors have an epsilon of their own that no config states. */
const LATENT_NORM: NormSpec = { kind: 'rms', eps: 1e-6, affine: true, bias: false, unitOffset: false };

interface LatentDefaults {
  readonly normEps?: number;
  readonly interleave: boolean;
  readonly tie?: boolean;
}

function latentBase(r: ConfigReader, { normEps, interleave, tie }: LatentDefaults): FamilyConfig {
  const nopeSize = r.int('qk_nope_head_dim', 128, 1, MAX_HEAD_SIZE);
  const ropeSize = r.int('qk_rope_head_dim', 64, 2, MAX_HEAD_SIZE);
  const valueSize = r.int('v_head_dim', 128, 1, MAX_HEAD_SIZE);
  const queryRank = r.intOrNull('q_lora_rank');
  const latentSize = r.int('kv_lora_rank', 512);
  // Stated again: the width of a key, and of what of it rotates.
  r.skip('qk_head_dim', 'head_dim', 'num_key_value_heads');
  r.refuse('rope_interleave', `only ${interleave} is supported in this family`, [interleave]);
  const base = readBase(r, {
    normEps,
    tie,
    keys: { headSize: [], nQueryGroups: null },
    headSize: ropeSize,
    rope: { interleave, fractionKeys: null },
  });
  const bias = r.bool('attention_bias', false);
  const mixer: LatentAttention = {
    kind: 'mla',
    heads: base.nHead,
    queryRank,
    latentSize,
    nopeSize,
    ropeSize,
    valueSize,
    scale: (nopeSize + ropeSize) ** -0.5 * yarnScale(r, base) ** 2,
    norm: LATENT_NORM,
    bias,
  };
  return { ...base, mlpBias: r.bool('mlp_bias', false), layer: (layer) => ({ ...layer, mixer }) };
}

/** What YaRN multiplies both queries and keys with, where `mscale_all_dim` is there. */
function yarnScale(r: ConfigReader, { ropes }: FamilyConfig): number {
  const stated = r.object('rope_parameters') ?? r.object('rope_scaling');
  const mscale = stated?.float('mscale_all_dim', 0, 0) ?? 0;
  const [{ scaling }] = ropes;
  if (mscale === 0 || scaling.type !== 'yarn' || scaling.factor <= 1) return 1;
  return 0.1 * mscale * Math.log(scaling.factor) + 1;
}

/** Both changes of a layer, one after the other. */
function both(base: FamilyConfig, more: Pick<FamilyConfig, 'layer'>): Pick<FamilyConfig, 'layer'> {
  return { layer: (layer: LayerSpec, l) => more.layer!(base.layer!(layer, l), l) };
}

const attn = 'model.layers.{l}.self_attn';

/** A head's rows: its key before rotation, its value. */
const keyAndValue: SegmentsOf = ({ mixer }) => {
  const { heads, nopeSize, valueSize } = mixer as LatentAttention;
  return { count: heads, sizes: [nopeSize, valueSize] };
};

const keyOrValue = (segment: number): TensorExpr => ({ segment, of: keyAndValue, from: `${attn}.kv_b_proj` });

const LATENT_TENSORS: TensorMap = {
  'h.{l}.attn.q': `${attn}.q_proj`,
  'h.{l}.attn.q_down': `${attn}.q_a_proj`,
  'h.{l}.attn.q_norm': `${attn}.q_a_layernorm`,
  'h.{l}.attn.q_up': `${attn}.q_b_proj`,
  'h.{l}.attn.kv_down': `${attn}.kv_a_proj_with_mqa`,
  'h.{l}.attn.kv_norm': `${attn}.kv_a_layernorm`,
  'h.{l}.attn.k_up.{e}': { transposed: { nthOf: 'heads', from: keyOrValue(0) } },
  'h.{l}.attn.v_up.{e}': { nthOf: 'heads', from: keyOrValue(1) },
};

export const deepseekV2: Family = {
  modelTypes: ['deepseek_v2'],
  config: (r) => {
    const base = latentBase(r, { interleave: true });
    return { ...base, ...both(base, deepseekMixture(r, base, 'softmax')) };
  },
  tensors: llamaTensors({ ...LATENT_TENSORS, ...DEEPSEEK_EXPERTS }),
};

export const deepseekV3: Family = {
  modelTypes: ['deepseek_v3'],
  config: (r) => {
    const base = latentBase(r, { interleave: true });
    return { ...base, ...both(base, deepseekMixture(r, base, 'sigmoid')) };
  },
  tensors: deepseekV2.tensors,
  ignore: [ignoreLayersBehind],
};

export const glm4MoeLite: Family = {
  modelTypes: ['glm4_moe_lite'],
  config: (r) => {
    const base = latentBase(r, { interleave: true, normEps: 1e-5 });
    return { ...base, ...both(base, deepseekMixture(r, base, 'sigmoid')) };
  },
  tensors: deepseekV2.tensors,
  ignore: [ignoreLayersBehind],
};

export const youtu: Family = {
  modelTypes: ['youtu'],
  config: (r) => {
    r.skip('embedding_initializer_range');
    return latentBase(r, { interleave: true, tie: true });
  },
  tensors: llamaTensors(LATENT_TENSORS),
};

export const minicpm3: Family = {
  modelTypes: ['minicpm3'],
  config: (r) => {
    const base = latentBase(r, { interleave: false, normEps: 1e-5, tie: true });
    return {
      ...base,
      embedScale: r.positive('scale_emb', 1),
      residualMultiplier: r.positive('scale_depth', 1) / Math.sqrt(base.nLayer),
      logitScale: r.positive('dim_model_base', base.nEmbd) / base.nEmbd,
    };
  },
  tensors: llamaTensors(LATENT_TENSORS),
};
