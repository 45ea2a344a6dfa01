/**
 * @file Architectures of 2025 that are Llama with small changes: arcee, smollm3, seed_oss, glm4, ernie4_5, qwen3vl,
 * qwen3vlmoe, exaone4.
 */
import {
  type Architecture,
  type GgufModel,
  type Json,
  LLAMA_NAMES,
  QK_NORMS,
  rotatedFraction,
  slidingLayers,
  slidingWindow,
} from '../architecture.ts';
import { ROTATED } from '../rules.ts';
import { llamaConfig } from './llama.ts';
import { QWEN_EXPERTS, qwenExperts } from './moe.ts';

/** A plain MLP of squared ReLUs. */
export const arcee: Architecture = {
  names: ['arcee'],
  config: async (model) => ({ ...(await llamaConfig(model)), model_type: 'arcee', hidden_act: 'relu2' }),
  tensors: { ...LLAMA_NAMES, ...ROTATED },
};

/** Every fourth layer rotates nothing; files do not state it. */
export const smollm3: Architecture = {
  names: ['smollm3'],
  config: async (model) => ({ ...(await llamaConfig(model)), model_type: 'smollm3' }),
  tensors: { ...LLAMA_NAMES, ...ROTATED },
};

/** The norm before the MLP is called post_attention_norm. */
export const seedOss: Architecture = {
  names: ['seed_oss'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'seed_oss',
    attention_bias: model.has('blk.0.attn_q.bias'),
    attention_out_bias: model.has('blk.0.attn_output.bias'),
  }),
  tensors: { ...LLAMA_NAMES, 'blk.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm' },
};

export const glm4: Architecture = {
  names: ['glm4'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'glm4',
    partial_rotary_factor: rotatedFraction(model),
    attention_bias: model.has('blk.0.attn_q.bias'),
  }),
  tensors: {
    ...LLAMA_NAMES,
    'blk.{l}.ffn_up': 'model.layers.{l}.mlp.gate_up_proj',
    'blk.{l}.post_attention_norm': 'model.layers.{l}.post_self_attn_layernorm',
    'blk.{l}.post_ffw_norm': 'model.layers.{l}.post_mlp_layernorm',
  },
};

/** Rotation is interleaved in the family, too. */
export const ernie45: Architecture = {
  names: ['ernie4_5'],
  config: async (model) => ({ ...(await llamaConfig(model)), model_type: 'ernie4_5' }),
  tensors: LLAMA_NAMES,
};

/** The decoder of Qwen3-VL: the frequencies are shared out between three positions of a token. */
async function qwen3vlConfig(model: GgufModel): Promise<Json> {
  const { rope_scaling, ...config } = await llamaConfig(model);
  const key = 'rope.dimension_sections';
  const sections = model.own.has(key) ? model.own.intsPer(3, key) : null;
  const scaling = sections ? { rope_type: 'default', mrope_section: sections, mrope_interleaved: true } : rope_scaling;
  return { ...config, rope_scaling: scaling };
}

export const qwen3vl: Architecture = {
  names: ['qwen3vl'],
  config: async (model) => ({ ...(await qwen3vlConfig(model)), model_type: 'qwen3_vl_text' }),
  tensors: { ...LLAMA_NAMES, ...QK_NORMS },
};

export const qwen3vlmoe: Architecture = {
  names: ['qwen3vlmoe'],
  config: async (model) => ({
    ...(await qwen3vlConfig(model)),
    ...qwenExperts(model),
    model_type: 'qwen3_vl_moe_text',
    norm_topk_prob: model.own.bool('expert_weights_norm', true),
    attention_bias: model.has('blk.0.attn_q.bias'),
  }),
  tensors: { ...LLAMA_NAMES, ...QK_NORMS, ...QWEN_EXPERTS },
};

/** Norms behind the branches only; layers with a window are rotated, the others are not. */
export const exaone4: Architecture = {
  names: ['exaone4'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'exaone4',
    sliding_window: slidingWindow(model),
    ...(slidingWindow(model) === null ? {} : slidingLayers(model, 4)),
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...QK_NORMS,
    'blk.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
    'blk.{l}.post_ffw_norm': 'model.layers.{l}.post_feedforward_layernorm',
  },
};
