/**
 * @file Meta's llama, cwm, chameleon. Reference: transformers models of these names.
 */
import { type Family, headNormTensors, llamaTensors } from '../family.ts';
import { attnBias, qkNorm, readBase, slidingLayers, window } from '../read-base.ts';

export const llama: Family = {
  modelTypes: ['llama'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
};

/** Meta's CWM: Llama 3 with windows on three layers of four. */
export const cwm: Family = {
  modelTypes: ['cwm'],
  config: (r) => {
    const base = readBase(r, {
      normEps: 1e-5,
      headSize: 128,
      nQueryGroups: 8,
      rope: { theta: 1e6, fractionKeys: null },
    });
    const sliding = slidingLayers(r, base.nLayer, (l) => l % 4 !== 0);
    const size = r.int('sliding_window', 8192);
    return { ...base, ...window(base, size, (l) => sliding[l]), mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
};

/** Chameleon on text: its image tokens are never predicted. */
export const chameleon: Family = {
  modelTypes: ['chameleon'],
  config: (r) => {
    const base = llama.config(r);
    const swin = r.bool('swin_norm', false);
    const images = Object.entries(r.record('vocabulary_map')).filter(([name]) => name.startsWith('IMGIMG'));
    r.skip('vq_config', 'image_token_id', 'boi_token_id', 'eoi_token_id', 'model_parallel_size');
    return {
      ...base,
      ...qkNorm(base, 'each-head', { kind: 'layer', bias: true, eps: 1e-5 }),
      ...(swin ? { norm1: false, norm2: false, postAttentionNorm: true, postMlpNorm: true } : {}),
      suppressedTokens: images.map(([, id]) => id),
    };
  },
  tensors: llamaTensors({
    'h.{l}.post_attention_norm': 'model.layers.{l}.input_layernorm',
    'h.{l}.post_mlp_norm': 'model.layers.{l}.post_attention_layernorm',
    ...headNormTensors('model.layers.{l}.self_attn.q_norm', 'model.layers.{l}.self_attn.k_norm'),
  }),
  ignore: [/^model\.vqmodel\./],
};
