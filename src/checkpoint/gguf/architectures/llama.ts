/**
 * @file Llama and the architectures that differ from it by little.
 */
import {
  type Architecture,
  type GgufModel,
  type Json,
  LLAMA_NAMES,
  layerEps,
  QK_NORMS,
  rmsEps,
  ropedConfig,
  rotatedFraction,
  slidingLayers,
  slidingWindow,
} from '../architecture.ts';
import { perHead, ROTATED } from '../rules.ts';

/** Llama's config: what most rows begin with. */
export async function llamaConfig(model: GgufModel): Promise<Json> {
  return { ...(await ropedConfig(model)), rms_norm_eps: rmsEps(model) };
}

/** Mixtral's names of experts, in one tensor for all or one for each. */
const sparse = (weight: string) => `model.layers.{l}.block_sparse_moe.experts.{e}.${weight}`;
export const SPARSE_MOE = {
  router: 'model.layers.{l}.block_sparse_moe.gate',
  gate: sparse('w1'),
  up: sparse('w3'),
  down: sparse('w2'),
};

/** Llama, Mistral and Mixtral: all that llama.cpp converts as "llama". */
export const llama: Omit<Architecture, 'tensors'> = {
  names: ['llama'],
  async config(model) {
    const { own, has } = model;
    const base = await llamaConfig(model);
    const experts = own.int('expert_count', 0);
    if (experts > 0)
      return {
        ...base,
        model_type: 'mixtral',
        num_local_experts: experts,
        num_experts_per_tok: own.int('expert_used_count', undefined, 1),
        sliding_window: null,
      };
    const qkv = has('blk.0.attn_q.bias');
    const proj = has('blk.0.attn_output.bias');
    // Biases of queries, keys and values alone are what qwen2 has.
    if (qkv && !proj) return { ...base, model_type: 'qwen2' };
    return { ...base, model_type: 'llama', attention_bias: qkv, mlp_bias: has('blk.0.ffn_up.bias') };
  },
  ignore: [/^rope_freqs\.weight$/],
};

export const qwen2: Architecture = {
  names: ['qwen2'],
  config: async (model) => ({ ...(await llamaConfig(model)), model_type: 'qwen2' }),
  tensors: LLAMA_NAMES,
};

export const qwen3: Architecture = {
  names: ['qwen3'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'qwen3',
    attention_bias: model.has('blk.0.attn_q.bias'),
  }),
  tensors: { ...LLAMA_NAMES, ...QK_NORMS },
};

export const phi3: Architecture = {
  names: ['phi3'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'phi3',
    partial_rotary_factor: rotatedFraction(model),
    original_max_position_embeddings: model.own.int(
      'rope.scaling.original_context_length',
      model.own.int('context_length'),
    ),
    sliding_window: slidingWindow(model),
  }),
  tensors: {
    ...LLAMA_NAMES,
    'blk.{l}.attn_qkv': 'model.layers.{l}.self_attn.qkv_proj',
    'blk.{l}.ffn_up': 'model.layers.{l}.mlp.gate_up_proj',
  },
  ignore: [/^rope_factors_(long|short)\.weight$/],
};

/** GLM-4 as transformers' `glm`. */
export const chatglm: Architecture = {
  names: ['chatglm'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'glm',
    partial_rotary_factor: rotatedFraction(model),
    attention_bias: model.has('blk.0.attn_q.bias'),
  }),
  tensors: { ...LLAMA_NAMES, 'blk.{l}.ffn_up': 'model.layers.{l}.mlp.gate_up_proj' },
};

/** Granite's factors. */
export function graniteFactors({ own, headSize }: GgufModel): Json {
  return {
    embedding_multiplier: own.float('embedding_scale', 1),
    residual_multiplier: own.float('residual_scale', 1),
    attention_multiplier: own.floatOrNull('attention.scale') || headSize ** -0.5,
    logits_scaling: own.float('logit_scale', 1),
  };
}

export const granite: Architecture = {
  names: ['granite'],
  config: async (model) => ({ ...(await llamaConfig(model)), ...graniteFactors(model), model_type: 'granite' }),
  tensors: { ...LLAMA_NAMES, ...ROTATED },
};

export const olmo: Architecture = {
  names: ['olmo'],
  config: async (model) => ({
    ...(await ropedConfig(model)),
    model_type: 'olmo',
    clip_qkv: model.own.floatOrNull('attention.clamp_kqv') || null,
  }),
  tensors: { ...LLAMA_NAMES, ...ROTATED },
};

/** OLMo 2; with windows OLMo 3. */
export const olmo2: Architecture = {
  names: ['olmo2'],
  config: async (model) => {
    const config = await llamaConfig(model);
    const window = slidingWindow(model);
    if (window === null) return { ...config, model_type: 'olmo2' };
    return { ...config, model_type: 'olmo3', sliding_window: window, ...slidingLayers(model, 4) };
  },
  tensors: {
    ...LLAMA_NAMES,
    ...QK_NORMS,
    'blk.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
    'blk.{l}.post_ffw_norm': 'model.layers.{l}.post_feedforward_layernorm',
  },
};

async function cohereConfig(model: GgufModel): Promise<Json> {
  return {
    ...(await ropedConfig(model)),
    layer_norm_eps: layerEps(model),
    logit_scale: model.own.float('logit_scale'),
  };
}

export const commandR: Architecture = {
  names: ['command-r'],
  config: async (model) => ({
    ...(await cohereConfig(model)),
    model_type: 'cohere',
    use_qk_norm: model.has('blk.0.attn_q_norm.weight'),
  }),
  tensors: { ...LLAMA_NAMES, ...QK_NORMS },
};

export const cohere2: Architecture = {
  names: ['cohere2'],
  config: async (model) => ({
    ...(await cohereConfig(model)),
    model_type: 'cohere2',
    sliding_window: slidingWindow(model),
    sliding_window_pattern: model.own.int('attention.sliding_window_pattern', 4, 1),
  }),
  tensors: LLAMA_NAMES,
};

/** stablelm: norms of queries and keys have weights for each head. */
export const stablelm: Architecture = {
  names: ['stablelm'],
  config: async (model) => ({
    ...(await ropedConfig(model)),
    model_type: 'stablelm',
    layer_norm_eps: layerEps(model),
    partial_rotary_factor: rotatedFraction(model),
    use_qkv_bias: model.has('blk.0.attn_q.bias'),
    qk_layernorm: model.has('blk.0.attn_q_norm.weight'),
    use_parallel_residual: !model.has('blk.0.ffn_norm.weight'),
  }),
  tensors: {
    ...LLAMA_NAMES,
    'blk.{l}.attn_q_norm': perHead('model.layers.{l}.self_attn.q_layernorm.norms.{e}'),
    'blk.{l}.attn_k_norm': perHead('model.layers.{l}.self_attn.k_layernorm.norms.{e}'),
  },
};
