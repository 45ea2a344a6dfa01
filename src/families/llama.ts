/**
 * @file Llama and the families that differ from it by little: mistral, qwen2, qwen3, phi3.
 */

import { type Family, fusedGateUp, fusedQkv, llamaTensors } from './family.ts';
import { attnBias, qkNorm, readBase, slidingLayers, window } from './read-base.ts';

export const llama: Family = {
  modelTypes: ['llama'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
};

export const mistral: Family = {
  modelTypes: ['mistral'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    return { ...base, ...window(base, r.intOrNull('sliding_window')) };
  },
  tensors: llamaTensors(),
};

export const qwen2: Family = {
  modelTypes: ['qwen2'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    const size = r.intOrNull('sliding_window');
    const from = r.int('max_window_layers', 28, 0);
    const sliding = slidingLayers(r, base.nLayer, (l) => l >= from);
    const used = r.bool('use_sliding_window', false) ? size : null;
    return { ...base, ...attnBias(base, true, false), ...window(base, used, (l) => sliding[l]) };
  },
  tensors: llamaTensors(),
};

export const qwen3: Family = {
  modelTypes: ['qwen3'],
  config: (r) => {
    const base = qwen2.config(r);
    const headSize = r.int('head_dim', 128);
    const bias = r.bool('attention_bias', false);
    return { ...base, headSize, ...attnBias(base, bias, bias), ...qkNorm(base, 'head') };
  },
  tensors: llamaTensors(),
};

export const phi3: Family = {
  modelTypes: ['phi3'],
  config: (r) => {
    r.int('original_max_position_embeddings', 4096); // read by longrope; the other variants state it too
    const base = readBase(r, { normEps: 1e-5, rope: { typeAliases: { su: 'longrope', yarn: 'longrope' } } });
    return { ...base, ...window(base, r.intOrNull('sliding_window')) };
  },
  tensors: llamaTensors({
    ...fusedQkv('model.layers.{l}.self_attn.qkv_proj', 'stacked'),
    ...fusedGateUp('model.layers.{l}.mlp.gate_up_proj'),
  }),
};
