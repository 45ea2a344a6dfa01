/**
 * @file Gemma 1 to 3: norms are stored as 1 + w.
 */
import {
  type Architecture,
  type GgufModel,
  type Json,
  LLAMA_NAMES,
  slidingLayers,
  slidingWindow,
} from '../architecture.ts';
import { oneLess } from '../rules.ts';
import { llamaConfig } from './llama.ts';

const NORMS = {
  ...LLAMA_NAMES,
  output_norm: oneLess('model.norm'),
  'blk.{l}.attn_norm': oneLess('model.layers.{l}.input_layernorm'),
  'blk.{l}.ffn_norm': oneLess('model.layers.{l}.post_attention_layernorm'),
};

const POST_NORMS = {
  ...NORMS,
  'blk.{l}.ffn_norm': oneLess('model.layers.{l}.pre_feedforward_layernorm'),
  'blk.{l}.post_attention_norm': oneLess('model.layers.{l}.post_attention_layernorm'),
  'blk.{l}.post_ffw_norm': oneLess('model.layers.{l}.post_feedforward_layernorm'),
};

async function gemmaConfig(model: GgufModel): Promise<Json> {
  return { ...(await llamaConfig(model)), hidden_activation: 'gelu_pytorch_tanh' };
}

/**
 * query_pre_attn_scalar. Files do not state it, unless a converter wrote attention.scale: the largest models (of
 * `large` layers) take the width of a head as the model's width makes it, the others the size of their heads.
 */
function queryScalar({ own, nLayer, nEmbd, nHead, headSize }: GgufModel, large: number): number {
  const scale = own.floatOrNull('attention.scale');
  if (scale) return scale ** -2;
  return nLayer === large ? nEmbd / nHead : headSize;
}

export const gemma: Architecture = {
  names: ['gemma'],
  config: async (model) => ({ ...(await gemmaConfig(model)), model_type: 'gemma' }),
  tensors: NORMS,
};

export const gemma2: Architecture = {
  names: ['gemma2'],
  config: async (model) => ({
    ...(await gemmaConfig(model)),
    model_type: 'gemma2',
    query_pre_attn_scalar: queryScalar(model, 46),
    attn_logit_softcapping: model.own.floatOrNull('attn_logit_softcapping') || null,
    final_logit_softcapping: model.own.floatOrNull('final_logit_softcapping') || null,
    sliding_window: slidingWindow(model) ?? 4096,
  }),
  tensors: POST_NORMS,
};

export const gemma3: Architecture = {
  names: ['gemma3'],
  config: async (model) => ({
    ...(await gemmaConfig(model)),
    model_type: 'gemma3_text',
    rope_theta: model.own.float('rope.freq_base', 1e6),
    rope_local_base_freq: model.own.float('rope.freq_base_swa', 10_000),
    query_pre_attn_scalar: queryScalar(model, 62),
    attn_logit_softcapping: model.own.floatOrNull('attn_logit_softcapping') || null,
    final_logit_softcapping: model.own.floatOrNull('final_logit_softcapping') || null,
    sliding_window: slidingWindow(model) ?? 4096,
    ...slidingLayers(model, 6),
  }),
  tensors: {
    ...POST_NORMS,
    'blk.{l}.attn_q_norm': oneLess('model.layers.{l}.self_attn.q_norm'),
    'blk.{l}.attn_k_norm': oneLess('model.layers.{l}.self_attn.k_norm'),
  },
};
