/**
 * @file BigCode's models: gpt_bigcode (StarCoder 1, SantaCoder; arXiv 2305.06161).
 */
import { type Family, fusedQkv, plainMlpTensors } from './family.ts';
import { GPT2_KEYS, GPT2_TENSORS, notCrossAttending } from './gpt2.ts';
import { attnBias, readBase, ungatedMlp } from './read-base.ts';

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
    return {
      ...base,
      ...attnBias(base, true, true),
      ...ungatedMlp(base, true),
      position: 'learned',
      attentionScale: r.bool('scale_attn_weights', true) ? base.attentionScale : 1,
    };
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
