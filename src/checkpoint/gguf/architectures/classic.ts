/**
 * @file Architectures with layer norms and an MLP without a gate: gpt2, gptneox, bloom, falcon, mpt, starcoder,
 * starcoder2, phi2, nemotron.
 */
import {
  type Architecture,
  baseConfig,
  type GgufModel,
  type Json,
  LLAMA_NAMES,
  layerEps,
  rope,
  ropedConfig,
  rotatedFraction,
  slidingWindow,
  tokens,
} from '../architecture.ts';
import { asConv1d, groupedQkv, oneLess, qkvHeights, split } from '../rules.ts';

/** Sizes by GPT-2's keys. */
function gpt2Sizes(model: GgufModel) {
  const { own, nEmbd, nLayer, nHead } = model;
  return { n_embd: nEmbd, n_layer: nLayer, n_head: nHead, layer_norm_epsilon: layerEps(model), ...tokens(model), own };
}

function gpt2Config(model: GgufModel): Json {
  const { own, ...sizes } = gpt2Sizes(model);
  return {
    ...sizes,
    n_positions: own.int('context_length', undefined, 1),
    n_inner: own.int('feed_forward_length', undefined, 1),
  };
}

const GPT2_NAMES = {
  token_embd: 'transformer.wte',
  position_embd: 'transformer.wpe',
  output_norm: 'transformer.ln_f',
  output: 'lm_head',
  'blk.{l}.attn_norm': 'transformer.h.{l}.ln_1',
  'blk.{l}.ffn_norm': 'transformer.h.{l}.ln_2',
} as const;

export const gpt2: Architecture = {
  names: ['gpt2'],
  config: (model) => ({ ...gpt2Config(model), model_type: 'gpt2' }),
  tensors: {
    ...GPT2_NAMES,
    'blk.{l}.attn_qkv': asConv1d('transformer.h.{l}.attn.c_attn'),
    'blk.{l}.attn_output': asConv1d('transformer.h.{l}.attn.c_proj'),
    'blk.{l}.ffn_up': asConv1d('transformer.h.{l}.mlp.c_fc'),
    'blk.{l}.ffn_down': asConv1d('transformer.h.{l}.mlp.c_proj'),
  },
};

export const gptneox: Architecture = {
  names: ['gptneox'],
  async config(model) {
    const { num_key_value_heads: _, ...sizes } = baseConfig(model);
    const { rope_theta, rope_scaling } = await rope(model);
    return {
      ...sizes,
      model_type: 'gpt_neox',
      rotary_emb_base: rope_theta,
      rope_scaling,
      rotary_pct: rotatedFraction(model),
      layer_norm_eps: layerEps(model),
      use_parallel_residual: model.own.bool('use_parallel_residual', true),
      attention_bias: model.has('blk.0.attn_qkv.bias'),
    };
  },
  tensors: {
    token_embd: 'gpt_neox.embed_in',
    output_norm: 'gpt_neox.final_layer_norm',
    output: 'embed_out',
    'blk.{l}.attn_norm': 'gpt_neox.layers.{l}.input_layernorm',
    'blk.{l}.ffn_norm': 'gpt_neox.layers.{l}.post_attention_layernorm',
    'blk.{l}.attn_qkv': groupedQkv('gpt_neox.layers.{l}.attention.query_key_value'),
    'blk.{l}.attn_output': 'gpt_neox.layers.{l}.attention.dense',
    'blk.{l}.ffn_up': 'gpt_neox.layers.{l}.mlp.dense_h_to_4h',
    'blk.{l}.ffn_down': 'gpt_neox.layers.{l}.mlp.dense_4h_to_h',
  },
};

/** Module names that bloom and falcon share. */
const FALCON_NAMES = {
  token_embd: 'transformer.word_embeddings',
  output_norm: 'transformer.ln_f',
  output: 'lm_head',
  'blk.{l}.attn_norm': 'transformer.h.{l}.input_layernorm',
  'blk.{l}.attn_qkv': groupedQkv('transformer.h.{l}.self_attention.query_key_value'),
  'blk.{l}.attn_output': 'transformer.h.{l}.self_attention.dense',
  'blk.{l}.ffn_up': 'transformer.h.{l}.mlp.dense_h_to_4h',
  'blk.{l}.ffn_down': 'transformer.h.{l}.mlp.dense_4h_to_h',
} as const;

export const bloom: Architecture = {
  names: ['bloom'],
  config(model) {
    const { n_embd: hidden_size, own, ...sizes } = gpt2Sizes(model);
    return { ...sizes, hidden_size, model_type: 'bloom', seq_length: own.int('context_length', undefined, 1) };
  },
  tensors: {
    ...FALCON_NAMES,
    token_embd_norm: 'transformer.word_embeddings_layernorm',
    'blk.{l}.ffn_norm': 'transformer.h.{l}.post_attention_layernorm',
  },
};

export const falcon: Architecture = {
  names: ['falcon'],
  async config(model) {
    const { own, nEmbd, nLayer, nHead, nQueryGroups, has } = model;
    const norms = has('blk.0.attn_norm_2.weight') ? 2 : 1;
    return {
      hidden_size: nEmbd,
      num_hidden_layers: nLayer,
      num_attention_heads: nHead,
      num_kv_heads: nQueryGroups,
      ffn_hidden_size: own.int('feed_forward_length', undefined, 1),
      max_position_embeddings: own.int('context_length', undefined, 1),
      layer_norm_epsilon: layerEps(model),
      ...tokens(model),
      ...(await rope(model)),
      model_type: 'falcon',
      // One group of keys and values is what the first models have; more make the newer architecture, or plain heads.
      new_decoder_architecture: nQueryGroups > 1,
      multi_query: nQueryGroups === 1,
      num_ln_in_parallel_attn: norms,
      parallel_attn: true,
      bias: has('blk.0.attn_qkv.bias'),
      alibi: false,
    };
  },
  tensors: {
    ...FALCON_NAMES,
    // With two norms, the one of the attention is the second in the file.
    'blk.{l}.attn_norm': {
      each: (tensor, suffix, layer, model) => [
        {
          ...tensor,
          name: `transformer.h.${layer}.${model.has('blk.0.attn_norm_2.weight') ? 'ln_mlp' : 'input_layernorm'}${suffix}`,
        },
      ],
    },
    'blk.{l}.attn_norm_2': 'transformer.h.{l}.ln_attn',
  },
};

/** Only ALiBi's usual slopes are run; a file with a table of positions is refused for its tensor. */
export const mpt: Architecture = {
  names: ['mpt'],
  config(model) {
    const { own, nEmbd, nLayer, nHead, has } = model;
    const size = own.int('feed_forward_length', 4 * nEmbd, 1);
    if (size % nEmbd !== 0) throw own.fail('feed_forward_length', `is ${size}, no multiple of the width ${nEmbd}`);
    return {
      model_type: 'mpt',
      d_model: nEmbd,
      n_layers: nLayer,
      n_heads: nHead,
      max_seq_len: own.int('context_length', undefined, 1),
      expansion_ratio: size / nEmbd,
      layer_norm_epsilon: layerEps(model),
      no_bias: !has('blk.0.attn_qkv.bias'),
      attn_config: {
        alibi: own.float('attention.max_alibi_bias', 0) > 0,
        alibi_bias_max: own.float('attention.max_alibi_bias', 8),
        clip_qkv: own.floatOrNull('attention.clamp_kqv') || null,
      },
      ...tokens(model),
    };
  },
  tensors: {
    token_embd: 'transformer.wte',
    output_norm: 'transformer.norm_f',
    output: 'lm_head',
    'blk.{l}.attn_norm': 'transformer.blocks.{l}.norm_1',
    'blk.{l}.ffn_norm': 'transformer.blocks.{l}.norm_2',
    'blk.{l}.attn_qkv': 'transformer.blocks.{l}.attn.Wqkv',
    'blk.{l}.attn_output': 'transformer.blocks.{l}.attn.out_proj',
    'blk.{l}.ffn_up': 'transformer.blocks.{l}.ffn.up_proj',
    'blk.{l}.ffn_down': 'transformer.blocks.{l}.ffn.down_proj',
  },
};

/** GPT-2 with one key head, its matrices as [out, in]. */
export const starcoder: Architecture = {
  names: ['starcoder'],
  config(model) {
    if (model.nQueryGroups !== 1) throw model.own.fail('attention.head_count_kv', 'is not 1');
    return { ...gpt2Config(model), model_type: 'gpt_bigcode', multi_query: true };
  },
  tensors: {
    ...GPT2_NAMES,
    'blk.{l}.attn_qkv': 'transformer.h.{l}.attn.c_attn',
    'blk.{l}.attn_output': 'transformer.h.{l}.attn.c_proj',
    'blk.{l}.ffn_up': 'transformer.h.{l}.mlp.c_fc',
    'blk.{l}.ffn_down': 'transformer.h.{l}.mlp.c_proj',
  },
};

const FC = {
  'blk.{l}.ffn_up': 'model.layers.{l}.mlp.c_fc',
  'blk.{l}.ffn_down': 'model.layers.{l}.mlp.c_proj',
} as const;

export const starcoder2: Architecture = {
  names: ['starcoder2'],
  config: async (model) => ({
    ...(await ropedConfig(model)),
    model_type: 'starcoder2',
    norm_epsilon: layerEps(model),
    use_bias: model.has('blk.0.attn_q.bias'),
    sliding_window: slidingWindow(model),
  }),
  tensors: { ...LLAMA_NAMES, ...FC },
};

export const phi2: Architecture = {
  names: ['phi2'],
  config: async (model) => ({
    ...(await ropedConfig(model)),
    model_type: 'phi',
    layer_norm_eps: layerEps(model),
    partial_rotary_factor: rotatedFraction(model),
    hidden_act: 'gelu_new',
  }),
  tensors: {
    ...LLAMA_NAMES,
    output_norm: 'model.final_layernorm',
    'blk.{l}.attn_qkv': split(
      ['q', 'k', 'v'].map((part) => `model.layers.{l}.self_attn.${part}_proj`),
      qkvHeights,
    ),
    'blk.{l}.attn_output': 'model.layers.{l}.self_attn.dense',
    'blk.{l}.ffn_up': 'model.layers.{l}.mlp.fc1',
    'blk.{l}.ffn_down': 'model.layers.{l}.mlp.fc2',
  },
};

/** Its norms, like Gemma's, are stored as 1 + w. */
export const nemotron: Architecture = {
  names: ['nemotron'],
  config: async (model) => ({
    ...(await ropedConfig(model)),
    model_type: 'nemotron',
    norm_eps: layerEps(model),
    partial_rotary_factor: rotatedFraction(model),
    attention_bias: model.has('blk.0.attn_q.bias'),
    mlp_bias: model.has('blk.0.ffn_up.bias'),
  }),
  tensors: {
    ...LLAMA_NAMES,
    output_norm: oneLess('model.norm'),
    'blk.{l}.attn_norm': oneLess('model.layers.{l}.input_layernorm'),
    'blk.{l}.ffn_norm': oneLess('model.layers.{l}.post_attention_layernorm'),
  },
};
