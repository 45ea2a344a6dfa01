/**
 * @file Microsoft's BioGPT: learned positions, layer norms, scaled embeddings. Reference: transformers models/biogpt.
 */
import { type Family, fairseqLayerTensors } from '../family.ts';
import { attnBias, readBase, ungatedMlp } from '../read-base.ts';

export const biogpt: Family = {
  modelTypes: ['biogpt'],
  config: (r) => {
    const base = readBase(r, {
      keys: { nQueryGroups: null, normEps: ['layer_norm_eps'] },
      normEps: 1e-12,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu',
      tie: true,
      rope: null,
    });
    r.float('layerdrop', 0); // of training
    const scaled = r.bool('scale_embedding', true);
    return {
      ...base,
      // No config states it: the epsilon of the file is not the norms'.
      norm: { ...base.norm, eps: LAYER_NORM_EPS },
      finalNorm: { ...base.norm, eps: LAYER_NORM_EPS },
      ...attnBias(base, true, true),
      ...ungatedMlp(base, true),
      embedScale: scaled ? Math.sqrt(base.nEmbd) : 1,
      position: 'learned',
      positionOffset: 2,
    };
  },
  tensors: {
    wte: 'biogpt.embed_tokens',
    wpe: 'biogpt.embed_positions',
    ...fairseqLayerTensors('biogpt.layers.{l}'),
    ln_f: 'biogpt.layer_norm',
    lm_head: 'output_projection',
  },
  prefixes: ['biogpt.'],
};

/** What torch's LayerNorm has where nothing is stated. */
const LAYER_NORM_EPS = 1e-5;
