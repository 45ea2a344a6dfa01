/**
 * @file Families with layer norms and Llama's module names: phi, stablelm, starcoder2, nemotron.
 */
import { type Family, llamaTensors, plainMlpTensors } from './family.ts';
import { attnBias, PARALLEL_SHARED, qkNorm, readBase, ungatedMlp, window } from './read-base.ts';

export const phi: Family = {
  modelTypes: ['phi'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['layer_norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu_new',
      rope: { fraction: 0.5 },
    });
    const norms = r.bool('qk_layernorm', false) ? qkNorm(base, 'head') : {};
    return {
      ...base,
      ...attnBias(base, true, true),
      ...ungatedMlp(base, true),
      ...PARALLEL_SHARED,
      ...norms,
      lmHeadBias: true,
    };
  },
  tensors: llamaTensors({
    'h.{l}.attn.proj': 'model.layers.{l}.self_attn.dense',
    'h.{l}.attn.norm_q': 'model.layers.{l}.self_attn.q_layernorm',
    'h.{l}.attn.norm_k': 'model.layers.{l}.self_attn.k_layernorm',
    ...plainMlpTensors('model.layers.{l}.mlp.fc1', 'model.layers.{l}.mlp.fc2'),
    ln_f: 'model.final_layernorm',
  }),
};

export const stablelm: Family = {
  modelTypes: ['stablelm'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['layer_norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      rope: { fraction: 0.25 },
    });
    return {
      ...base,
      ...attnBias(base, r.bool('use_qkv_bias', false), false),
      ...(r.bool('qk_layernorm', false) ? qkNorm(base, 'each-head', { bias: false }) : {}),
      ...(r.bool('use_parallel_residual', false) ? PARALLEL_SHARED : {}),
    };
  },
  tensors: llamaTensors({
    'h.{l}.attn.norm_q.{e}': 'model.layers.{l}.self_attn.q_layernorm.norms.{e}',
    'h.{l}.attn.norm_k.{e}': 'model.layers.{l}.self_attn.k_layernorm.norms.{e}',
  }),
};

export const starcoder2: Family = {
  modelTypes: ['starcoder2'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['norm_epsilon'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu_pytorch_tanh',
      tie: true,
      rope: { fractionKeys: null },
    });
    r.refuse('mlp_type', 'only "default" is supported', ['default']);
    r.refuse('norm_type', 'only "layer_norm" is supported', ['layer_norm']);
    r.skip('layer_norm_epsilon', 'scale_attn_weights'); // of an older code; norm_epsilon counts
    const bias = r.bool('use_bias', true);
    const size = r.intOrNull('sliding_window');
    return { ...base, ...attnBias(base, bias, bias), ...ungatedMlp(base, bias), ...window(base, size) };
  },
  tensors: llamaTensors(plainMlpTensors('model.layers.{l}.mlp.c_fc', 'model.layers.{l}.mlp.c_proj')),
};

export const nemotron: Family = {
  modelTypes: ['nemotron'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true, unitOffset: true },
      activation: 'relu2',
      rope: { fraction: 0.5, fractionKeys: ['partial_rotary_factor', 'rope_percent'] },
    });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...ungatedMlp(base, r.bool('mlp_bias', false)) };
  },
  tensors: llamaTensors(plainMlpTensors('model.layers.{l}.mlp.up_proj', 'model.layers.{l}.mlp.down_proj')),
};
