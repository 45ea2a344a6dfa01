/**
 * @file Meta's XGLM: sinusoids in place of learned positions, layer norms. Reference: transformers models/xglm,
 * arXiv 2112.10668.
 */
import { type Family, fairseqLayerTensors } from '../family.ts';
import { attnBias, readBase, ungatedMlp } from '../read-base.ts';

/** Row of position 0. */
const OFFSET = 2;

export const xglm: Family = {
  modelTypes: ['xglm'],
  config: (r) => {
    const base = readBase(r, {
      keys: {
        nEmbd: ['d_model', 'hidden_size'],
        nLayer: ['num_layers', 'num_hidden_layers'],
        nHead: ['attention_heads', 'num_attention_heads'],
        nQueryGroups: null,
        intermediateSize: ['ffn_dim'],
        activation: ['activation_function'],
        normEps: null,
      },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu',
      tie: true,
      rope: null,
    });
    r.float('layerdrop', 0); // of training
    return {
      ...base,
      ...attnBias(base, true, true),
      ...ungatedMlp(base, true),
      embedScale: r.bool('scale_embedding', true) ? Math.sqrt(base.nEmbd) : 1,
      position: 'learned',
      positionOffset: OFFSET,
    };
  },
  tensors: {
    wte: 'model.embed_tokens',
    wpe: { sinusoids: true },
    ...fairseqLayerTensors('model.layers.{l}'),
    ln_f: 'model.layer_norm',
    lm_head: 'lm_head',
  },
  ignore: [/embed_positions\.weights?$/],
};
