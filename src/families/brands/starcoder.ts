/**
 * @file BigCode's StarCoder: gpt_bigcode and starcoder2. Reference: transformers models of these names.
 */
import { type Family, fusedQkv, llamaTensors, plainMlpTensors } from '../family.ts';
import { attnBias, readBase, ungatedMlp, window } from '../read-base.ts';
import { GPT2_KEYS, GPT2_TENSORS, gpt2Layers, notCrossAttending } from './gpt2.ts';

export const gptBigcode: Family = {
  modelTypes: ['gpt_bigcode'],
  config: (r) => {
    const multiQuery = r.bool('multi_query', true);
    const base = readBase(r, {
      ...GPT2_KEYS,
      activation: 'gelu_pytorch_tanh',
      tie: true,
      nQueryGroups: multiQuery ? 1 : undefined,
    });
    r.skip('num_key_value_heads', 'attention_softmax_in_fp32', 'scale_attention_softmax_in_fp32', 'inference_runner');
    r.skip('validate_runner_input', 'pad_key_length', 'pre_allocate_kv_cache', 'max_batch_size');
    notCrossAttending(r);
    return gpt2Layers(r, base);
  },
  tensors: {
    ...GPT2_TENSORS,
    // With one key for all heads, the three lie behind each other; else head by head.
    ...fusedQkv('transformer.h.{l}.attn.c_attn', 'grouped'),
    'h.{l}.attn.proj': 'transformer.h.{l}.attn.c_proj',
    ...plainMlpTensors('transformer.h.{l}.mlp.c_fc', 'transformer.h.{l}.mlp.c_proj'),
  },
  prefixes: ['transformer.'],
  ignore: [/\.attn\.(bias|masked_bias)$/],
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
