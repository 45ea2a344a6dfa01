/**
 * @file Cohere's Command models: parallel branches behind one layer norm without bias, interleaved rotation, scaled
 * logits.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, headNormTensors, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { attnBias, PARALLEL_SHARED, qkNorm, readBase, slidingLayers, window } from '../read-base.ts';

function cohereBase(r: ConfigReader): FamilyConfig {
  const base = readBase(r, {
    keys: { normEps: ['layer_norm_eps'] },
    normEps: 1e-5,
    norm: { kind: 'layer' },
    tie: true,
    rope: { interleave: true, theta: 500_000, fractionKeys: null },
  });
  const bias = r.bool('attention_bias', false);
  return { ...base, ...attnBias(base, bias, bias), ...PARALLEL_SHARED, logitScale: r.positive('logit_scale', 0.0625) };
}

export const cohere: Family = {
  modelTypes: ['cohere'],
  config: (r) => {
    const base = cohereBase(r);
    return { ...base, ...(r.bool('use_qk_norm', false) ? qkNorm(base, 'each-head') : {}) };
  },
  tensors: llamaTensors(headNormTensors('model.layers.{l}.self_attn.q_norm', 'model.layers.{l}.self_attn.k_norm')),
};

/** What the files state and the family never does otherwise. */
const COHERE2_FIXED: readonly (readonly [string, unknown])[] = [
  ['order_of_interleaved_layers', 'local_attn_first'],
  ['position_embedding_type', 'rope_gptj'],
  ['rotary_pct', 1],
  ['use_gated_activation', true],
  ['use_parallel_block', true],
];

export const cohere2: Family = {
  modelTypes: ['cohere2'],
  config: (r) => {
    const base = cohereBase(r);
    for (const [key, fine] of COHERE2_FIXED) r.refuse(key, `only ${JSON.stringify(fine)} is supported`, [fine]);
    r.skip('layer_switch', 'use_embedding_sharing', 'use_parallel_embedding'); // the pattern once more; training
    const pattern = r.int(['sliding_window_pattern', '_sliding_window_pattern'], 4);
    const sliding = slidingLayers(r, base.nLayer, (l) => (l + 1) % pattern !== 0);
    return {
      ...base,
      ...window(base, r.int('sliding_window', 4096), (l) => sliding[l]),
      // Layers that see everything have no position at all.
      ropeIndices: sliding.map((on) => (on ? 0 : -1)),
    };
  },
  tensors: llamaTensors(),
};
