/**
 * @file Architectures that compute what a family of another name does: exaone, internlm2, baichuan, xverse, minicpm,
 * qwen, qwen2vl.
 */
import { type Architecture, LLAMA_NAMES } from '../architecture.ts';
import { qkvHeights, ROTATED, split } from '../rules.ts';
import { llamaConfig, qwen2 } from './llama.ts';

const asLlama: Architecture['config'] = async (model) => ({
  ...(await llamaConfig(model)),
  model_type: 'llama',
  attention_bias: model.has('blk.0.attn_q.bias'),
  mlp_bias: model.has('blk.0.ffn_up.bias'),
});

/** EXAONE 3: Llama, whose queries and keys are stored as transformers has them. */
export const exaone: Architecture = {
  names: ['exaone'],
  config: asLlama,
  tensors: LLAMA_NAMES,
  ignore: [/^rope_freqs\.weight$/],
};

export const internlm2: Architecture = {
  names: ['internlm2', 'xverse'],
  config: asLlama,
  tensors: { ...LLAMA_NAMES, ...ROTATED },
};

/** The model of 40 layers has no rotation, but biases by distance (ALiBi), which the family has not. */
export const baichuan: Architecture = {
  names: ['baichuan'],
  config: (model) => {
    if (model.nLayer === 40)
      throw model.own.fail('block_count', 'is 40: Baichuan 13B has ALiBi, which is not supported');
    return asLlama(model);
  },
  tensors: { ...LLAMA_NAMES, ...ROTATED },
};

/** MiniCPM 1 and 2 are Llama with Granite's factors. Files that do not state them are of the model of 2,304. */
export const minicpm: Architecture = {
  names: ['minicpm'],
  config: async (model) => {
    const { own, nLayer, nEmbd, headSize } = model;
    return {
      ...(await llamaConfig(model)),
      model_type: 'granite',
      embedding_multiplier: own.float('embedding_scale', 12),
      residual_multiplier: own.float('residual_scale', 1.4 / Math.sqrt(nLayer)),
      attention_multiplier: headSize ** -0.5,
      logits_scaling: own.float('logit_scale', nEmbd / 256),
    };
  },
  tensors: { ...LLAMA_NAMES, ...ROTATED },
};

/** The first Qwen: what Qwen 2 computes, with queries, keys and values in one tensor. */
export const qwen: Architecture = {
  names: ['qwen'],
  config: async (model) => {
    const { intermediate_size: both, ...config } = await llamaConfig(model);
    // The file has the width of gate and up together.
    const width = model.tensors.get('blk.0.ffn_up.weight')?.shape[0] ?? Number(both) / 2;
    return { ...config, intermediate_size: width, model_type: 'qwen2' };
  },
  tensors: {
    ...LLAMA_NAMES,
    'blk.{l}.attn_qkv': split(
      ['q', 'k', 'v'].map((part) => `model.layers.{l}.self_attn.${part}_proj`),
      qkvHeights,
    ),
  },
};

/** The decoder of Qwen 2-VL and 2.5-VL. Positions of a text are the same in all three sections of a head. */
export const qwen2vl: Architecture = { ...qwen2, names: ['qwen2vl'] };
