/**
 * @file Gemma 1 to 3: norms stored as w - 1, scaled embeddings, post norms, soft-capping, two rotary embeddings.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { attnBias, type BaseDefaults, qkNorm, readBase, ropesByType, slidingLayers, window } from '../read-base.ts';

const GEMMA: BaseDefaults = {
  headSize: 256,
  tie: true,
  activation: 'gelu_pytorch_tanh',
  norm: { unitOffset: true },
  keys: { activation: ['hidden_activation', 'hidden_act'] },
  rope: { fractionKeys: null },
};

function gemmaBase(r: ConfigReader): FamilyConfig {
  const read = readBase(r, GEMMA);
  const bias = r.bool('attention_bias', false);
  // The first Gemma files say "gelu" and mean its tanh form.
  const activation = read.activation === 'gelu' ? 'gelu-tanh' : read.activation;
  return { ...read, activation, embedScale: Math.sqrt(read.nEmbd), ...attnBias(read, bias, bias) };
}

/** What gemma2 and gemma3 have in common. */
function gemma2Base(r: ConfigReader, caps: { attention: number | null; logits: number | null }): FamilyConfig {
  // A file that says null has no cap; one that is silent has the family's.
  const cap = (key: string, fallback: number | null) =>
    r.isNull(key) ? null : r.has(key) ? r.positive(key) : fallback;
  return {
    ...gemmaBase(r),
    postAttentionNorm: true,
    postMlpNorm: true,
    attentionScale: r.positive('query_pre_attn_scalar', 256) ** -0.5,
    attentionLogitSoftcapping: cap('attn_logit_softcapping', caps.attention),
    finalLogitSoftcapping: cap('final_logit_softcapping', caps.logits),
  };
}

export const gemma: Family = { modelTypes: ['gemma'], config: gemmaBase, tensors: llamaTensors() };

const POST_NORMS = llamaTensors({
  'h.{l}.norm_2': 'model.layers.{l}.pre_feedforward_layernorm',
  'h.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
  'h.{l}.post_mlp_norm': 'model.layers.{l}.post_feedforward_layernorm',
});

export const gemma2: Family = {
  modelTypes: ['gemma2'],
  config: (r) => {
    const base = gemma2Base(r, { attention: 50, logits: 30 });
    const sliding = slidingLayers(r, base.nLayer, (l) => l % 2 === 0);
    return { ...base, ...window(base, r.int('sliding_window', 4096), (l) => sliding[l]) };
  },
  tensors: POST_NORMS,
};

/** Gemma 2 trained with differential privacy: no norms behind the branches. */
export const vaultGemma: Family = {
  modelTypes: ['vaultgemma'],
  config: (r) => ({ ...gemma2.config(r), postAttentionNorm: false, postMlpNorm: false }),
  tensors: llamaTensors({ 'h.{l}.norm_2': 'model.layers.{l}.pre_feedforward_layernorm' }),
};

export const gemma3: Family = {
  modelTypes: ['gemma3_text'],
  config: (r) => {
    const base = gemma2Base(r, { attention: null, logits: null });
    const pattern = r.int(['sliding_window_pattern', '_sliding_window_pattern'], 6);
    const sliding = slidingLayers(r, base.nLayer, (l) => (l + 1) % pattern !== 0);
    // The sliding layers have a base of their own, and none of the scaling that the old keys state.
    const defaults = { headSize: base.headSize, maxSeq: base.contextLength, fractionKeys: null, theta: 1e6 };
    const ropes = ropesByType(r, defaults, sliding, r.positive('rope_local_base_freq', 10_000));
    const size = r.int('sliding_window', 4096);
    // Embedding models see to both sides, half as far to each.
    const both = r.bool('use_bidirectional_attention', false);
    return {
      ...base,
      ...(both ? { output: 'hidden' as const, causal: false } : {}),
      ...qkNorm(base, 'head'),
      ...window(base, both ? Math.floor(size / 2) + 1 : size, (l) => sliding[l]),
      ...ropes,
    };
  },
  tensors: POST_NORMS,
};
