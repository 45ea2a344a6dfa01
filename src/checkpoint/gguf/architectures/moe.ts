/**
 * @file Architectures with experts: mixtral (as "llama"), qwen2moe, deepseek, qwen3moe, olmoe, phimoe, granitemoe.
 */
import { range } from '../../../util/numbers.ts';
import {
  type Architecture,
  type GgufModel,
  type Json,
  LLAMA_NAMES,
  QK_NORMS,
  ropedConfig,
  type TensorRule,
} from '../architecture.ts';
import { mapped, stackedEntries } from '../rearrange.ts';
import { expertsOf, ROTATED } from '../rules.ts';
import { llama as dense, graniteFactors, llamaConfig, SPARSE_MOE } from './llama.ts';

interface ExpertNames {
  readonly router: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/** All experts of a layer in one tensor each, or (in old files) a tensor for each expert. */
export function experts({ router, gate, up, down }: ExpertNames): Readonly<Record<string, TensorRule>> {
  return {
    'blk.{l}.ffn_gate_inp': router,
    'blk.{l}.ffn_gate_exps': expertsOf(gate),
    'blk.{l}.ffn_up_exps': expertsOf(up),
    'blk.{l}.ffn_down_exps': expertsOf(down),
    'blk.{l}.ffn_gate.{e}': gate,
    'blk.{l}.ffn_up.{e}': up,
    'blk.{l}.ffn_down.{e}': down,
  };
}

export const QWEN_EXPERTS = experts({
  router: 'model.layers.{l}.mlp.gate',
  gate: 'model.layers.{l}.mlp.experts.{e}.gate_proj',
  up: 'model.layers.{l}.mlp.experts.{e}.up_proj',
  down: 'model.layers.{l}.mlp.experts.{e}.down_proj',
});

export const llama: Architecture = { ...dense, tensors: { ...LLAMA_NAMES, ...ROTATED, ...experts(SPARSE_MOE) } };

export const SHARED_EXPERT: Readonly<Record<string, TensorRule>> = {
  'blk.{l}.ffn_gate_shexp': 'model.layers.{l}.mlp.shared_expert.gate_proj',
  'blk.{l}.ffn_up_shexp': 'model.layers.{l}.mlp.shared_expert.up_proj',
  'blk.{l}.ffn_down_shexp': 'model.layers.{l}.mlp.shared_expert.down_proj',
  // A vector in the file, a matrix of one row in the family.
  'blk.{l}.ffn_gate_inp_shexp': {
    to: 'model.layers.{l}.mlp.shared_expert_gate',
    make: (tensor, name) => ({ ...tensor, name, shape: [1, tensor.shape[tensor.shape.length - 1]] }),
  },
};

/** How many experts, and how wide they are. */
export function expertSizes({ own }: GgufModel, total: string): Json {
  return {
    [total]: own.int('expert_count', undefined, 1),
    num_experts_per_tok: own.int('expert_used_count', undefined, 1),
  };
}

export function qwenExperts(model: GgufModel): Json {
  const stacked = [...model.tensors].find(([name]) => name.endsWith('.ffn_gate_exps.weight'))?.[1];
  return {
    ...expertSizes(model, 'num_experts'),
    moe_intermediate_size: model.own.int('expert_feed_forward_length', stacked?.shape[1], 1),
    decoder_sparse_step: 1,
    mlp_only_layers: range(model.nLayer).filter((l) => !model.has(`blk.${l}.ffn_gate_inp.weight`)),
  };
}

export const qwen2moe: Architecture = {
  names: ['qwen2moe'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...qwenExperts(model),
    model_type: 'qwen2_moe',
    shared_expert_intermediate_size:
      [...model.tensors].find(([name]) => name.endsWith('.ffn_gate_shexp.weight'))?.[1].shape[0] ?? 0,
    norm_topk_prob: model.own.bool('expert_weights_norm', false),
    qkv_bias: model.has('blk.0.attn_q.bias'),
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...QWEN_EXPERTS,
    ...SHARED_EXPERT,
  },
};

/**
 * The first DeepSeek MoE. Its family is qwen2_moe, whose shared experts have a gate: one of zeros lets the half of them
 * through, so their last matrix is doubled, which is exact.
 */
export const deepseek: Architecture = {
  names: ['deepseek'],
  config: async (model) => {
    const { own } = model;
    if ((own.floatOrNull('expert_weights_scale') || 1) !== 1) throw own.fail('expert_weights_scale', 'must be 1');
    return { ...(await qwen2moe.config(model)), qkv_bias: false };
  },
  tensors: {
    ...LLAMA_NAMES,
    ...ROTATED,
    ...QWEN_EXPERTS,
    'blk.{l}.ffn_gate_shexp': 'model.layers.{l}.mlp.shared_expert.gate_proj',
    'blk.{l}.ffn_up_shexp': 'model.layers.{l}.mlp.shared_expert.up_proj',
    'blk.{l}.ffn_down_shexp': {
      to: 'model.layers.{l}.mlp.shared_expert.down_proj',
      make: (tensor, name) => mapped(tensor, name, (w) => 2 * w),
    },
  },
  stated: ({ nLayer, nEmbd, has }) =>
    range(nLayer)
      .filter((l) => has(`blk.${l}.ffn_gate_inp.weight`))
      .map((l) => ({
        name: `model.layers.${l}.mlp.shared_expert_gate.weight`,
        shape: [1, nEmbd],
        values: new Array<number>(nEmbd).fill(0),
      })),
};

export const qwen3moe: Architecture = {
  names: ['qwen3moe'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...qwenExperts(model),
    model_type: 'qwen3_moe',
    norm_topk_prob: model.own.bool('expert_weights_norm', true),
    attention_bias: model.has('blk.0.attn_q.bias'),
  }),
  tensors: { ...LLAMA_NAMES, ...QK_NORMS, ...QWEN_EXPERTS },
};

export const olmoe: Architecture = {
  names: ['olmoe'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...expertSizes(model, 'num_experts'),
    model_type: 'olmoe',
    norm_topk_prob: model.own.bool('expert_weights_norm', false),
  }),
  tensors: { ...LLAMA_NAMES, ...QK_NORMS, ...QWEN_EXPERTS },
};

export const phimoe: Architecture = {
  names: ['phimoe'],
  config: async (model) => ({
    ...(await ropedConfig(model)),
    model_type: 'phimoe',
    // The converter names the layer norms' epsilon as one of RMS norms.
    rms_norm_eps: model.own.float(
      'attention.layer_norm_rms_epsilon',
      model.own.floatOrNull('attention.layer_norm_epsilon') ?? 1e-5,
    ),
    original_max_position_embeddings: model.own.int('rope.scaling.original_context_length', 4096),
    ...expertSizes(model, 'num_local_experts'),
    attention_bias: model.has('blk.0.attn_q.bias'),
    lm_head_bias: model.has('output.bias'),
  }),
  tensors: { ...LLAMA_NAMES, ...experts(SPARSE_MOE) },
  ignore: [/^rope_factors_(long|short)\.weight$/],
};

/** The norm before the MLP is called post_attention_norm; gate, up and down have biases. */
export const gptOss: Architecture = {
  names: ['gpt-oss'],
  async config(model) {
    const { own } = model;
    const { rope_scaling, ...base } = await llamaConfig(model);
    return {
      ...base,
      ...expertSizes(model, 'num_local_experts'),
      model_type: 'gpt_oss',
      intermediate_size: own.int('expert_feed_forward_length', undefined, 1),
      sliding_window: own.int('attention.sliding_window', 128, 1),
      attention_bias: model.has('blk.0.attn_q.bias'),
      // The model was trained with frequencies that are not rounded to whole pairs; files can't say so.
      rope_scaling: rope_scaling === null ? null : { ...(rope_scaling as Json), truncate: false },
    };
  },
  tensors: {
    ...LLAMA_NAMES,
    ...QWEN_EXPERTS,
    'blk.{l}.ffn_gate_inp': 'model.layers.{l}.mlp.router',
    'blk.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
    'blk.{l}.attn_sinks': { each: (tensor, _, l) => [{ ...tensor, name: `model.layers.${l}.self_attn.sinks` }] },
  },
};

/** Gate and up of all experts are one tensor in the family: rows of gate, then of up, for each expert. */
export const granitemoe: Architecture = {
  names: ['granitemoe'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...graniteFactors(model),
    ...expertSizes(model, 'num_local_experts'),
    model_type: 'granitemoe',
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...ROTATED,
    'blk.{l}.ffn_gate_inp': 'model.layers.{l}.block_sparse_moe.router.layer',
    'blk.{l}.ffn_gate_exps': {
      each: (gate, suffix, layer, { tensors }) => {
        const up = tensors.get(`blk.${layer}.ffn_up_exps${suffix}`);
        const name = `model.layers.${layer}.block_sparse_moe.input_linear${suffix}`;
        return [stackedEntries(up ? [gate, up] : [gate], name)];
      },
    },
    'blk.{l}.ffn_up_exps': { each: () => [] },
    'blk.{l}.ffn_down_exps': 'model.layers.{l}.block_sparse_moe.output_linear',
  },
};
