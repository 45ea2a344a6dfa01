/**
 * @file Liquid AI's LFM2: gated short convolutions, and attention between them. Reference: transformers models/lfm2,
 * lfm2_moe.
 */
import type { ShortConv } from '../../config/layer-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import { range } from '../../util/numbers.ts';
import type { TensorMap } from '../../weights/tensor-map.ts';
import { expertTensors, type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertCount, mixture, router } from '../mixture.ts';
import { qkNorm, readBase, ropeOn } from '../read-base.ts';

function lfmBase(r: ConfigReader): FamilyConfig {
  // Sizes that are stated again, settings of training, and what the family never does otherwise.
  r.skip(
    'conv_dim',
    'conv_dim_out',
    'conv_use_xavier_init',
    'block_dim',
    'block_mlp_init_scale',
    'block_out_init_scale',
  );
  r.skip('block_use_xavier_init', 'num_heads', 'theta');
  for (const key of ['block_use_swiglu', 'use_pos_enc']) r.refuse(key, 'only true is supported', [true]);
  const tie = r.bool(['tie_word_embeddings', 'tie_embedding'], true);
  const base = readBase(r, {
    tie,
    normEps: 1e-5,
    keys: {
      normEps: ['norm_eps', 'block_norm_eps'],
      intermediateSize: ['block_ff_dim', 'intermediate_size'],
      activation: null,
    },
    rope: { theta: 1e6, fractionKeys: null },
  });
  const attends = attentionLayers(r, base.nLayer);
  const mixer: ShortConv = {
    kind: 'short-conv',
    width: base.nEmbd,
    convWidth: r.int('conv_L_cache', 3, 2, 64),
    bias: r.bool('conv_bias', false),
  };
  return {
    ...base,
    ...qkNorm(base, 'head'),
    ...ropeOn(base, (l) => attends[l]),
    layer: (layer, l) => (attends[l] ? layer : { ...layer, mixer }),
  };
}

/** `layer_types`, or the layers of `full_attn_idxs`. */
function attentionLayers(r: ConfigReader, nLayer: number): boolean[] {
  const types = r.strings('layer_types', nLayer);
  if (types) {
    r.skip('full_attn_idxs');
    return types.map((type) => {
      if (type !== 'conv' && type !== 'full_attention')
        r.fail('layer_types', `names "${type}"; known are conv and full_attention`);
      return type === 'full_attention';
    });
  }
  const list = r.has('full_attn_idxs') ? r.numbers('full_attn_idxs') : range(nLayer);
  return range(nLayer).map((l) => list.includes(l));
}

/** Width of the MLP: of what the config states, two thirds are used, rounded up to a whole multiple. */
function adjustedWidth(r: ConfigReader, stated: number): number {
  const multiple = r.int('block_multiple_of', 256);
  const factor = r.positive('block_ffn_dim_multiplier', 1);
  if (!r.bool('block_auto_adjust_ff_dim', true)) return stated;
  return multiple * Math.ceil(Math.floor(factor * Math.floor((2 * stated) / 3)) / multiple);
}

const layer = 'model.layers.{l}';
const LFM_TENSORS: TensorMap = llamaTensors({
  'h.{l}.norm_1': `${layer}.operator_norm`,
  'h.{l}.norm_2': `${layer}.ffn_norm`,
  'h.{l}.conv.in': `${layer}.conv.in_proj`,
  'h.{l}.conv.conv': { transposed: `${layer}.conv.conv` },
  'h.{l}.conv.out': `${layer}.conv.out_proj`,
  'h.{l}.attn.proj': `${layer}.self_attn.out_proj`,
  'h.{l}.attn.norm_q': `${layer}.self_attn.q_layernorm`,
  'h.{l}.attn.norm_k': `${layer}.self_attn.k_layernorm`,
  'h.{l}.mlp.fc_1': `${layer}.feed_forward.w1`,
  'h.{l}.mlp.fc_2': `${layer}.feed_forward.w3`,
  'h.{l}.mlp.proj': `${layer}.feed_forward.w2`,
  ln_f: 'model.embedding_norm',
});

export const lfm2: Family = {
  modelTypes: ['lfm2'],
  config: (r) => {
    const base = lfmBase(r);
    return { ...base, intermediateSize: adjustedWidth(r, base.intermediateSize) };
  },
  tensors: LFM_TENSORS,
};

export const lfm2Moe: Family = {
  modelTypes: ['lfm2_moe'],
  config: (r) => {
    const base = lfmBase(r);
    const { count, perToken } = expertCount(r, 'num_experts', 'num_experts_per_tok', [32, 4]);
    const dense = r.int('num_dense_layers', 2, 0);
    const mlp = mixture(base, {
      router: router(perToken, {
        score: 'sigmoid',
        choiceBias: r.bool('use_expert_bias', true),
        normP: r.bool('norm_topk_prob', true) ? 1 : null,
        normEps: 1e-6,
        scale: r.positive('routed_scaling_factor', 1),
      }),
      experts: { count, size: r.int('moe_intermediate_size', 1792) },
    });
    return {
      ...base,
      layer: (spec, l) => {
        const own = base.layer!(spec, l);
        return l < dense ? own : { ...own, mlp };
      },
    };
  },
  tensors: {
    ...LFM_TENSORS,
    'h.{l}.mlp.gate': `${layer}.feed_forward.gate`,
    'h.{l}.mlp.choice_bias': { bare: `${layer}.feed_forward.expert_bias` },
    ...expertTensors(
      `${layer}.feed_forward.experts.{e}.w1`,
      `${layer}.feed_forward.experts.{e}.w3`,
      `${layer}.feed_forward.experts.{e}.w2`,
    ),
  },
};
