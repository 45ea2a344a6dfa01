/**
 * @file Mixtures with shared experts or biased choices: glm4moe, dots1, minimax-m2, ernie4_5-moe, afmoe, dbrx,
 * qwen3next.
 */
import { range } from '../../../util/numbers.ts';
import {
  type Architecture,
  type GgufModel,
  type Json,
  LLAMA_NAMES,
  QK_NORMS,
  ropeTheta,
  rotatedFraction,
  slidingTypes,
  type TensorRule,
  tokens,
} from '../architecture.ts';
import { mapped, slicedRows, stackedEntries, turnedEntries } from '../rearrange.ts';
import { bare } from '../rules.ts';
import { DELTA_NAMES, deltaHeads, deltaSizes } from './hybrid.ts';
import { llamaConfig } from './llama.ts';
import { expertSizes, experts, QWEN_EXPERTS, qwenExperts, SHARED_EXPERT } from './moe.ts';

const MLP = 'model.layers.{l}.mlp';
/** What `expert_gating_func` says. */
const SIGMOID = 2;

/** Experts as DeepSeek V3 has them. */
function sharedMixture(model: GgufModel): Json {
  const { own } = model;
  return {
    ...expertSizes(model, 'n_routed_experts'),
    moe_intermediate_size: own.int('expert_feed_forward_length', undefined, 1),
    n_shared_experts: own.int('expert_shared_count', 0) || null,
    first_k_dense_replace: own.int('leading_dense_block_count', 0),
    norm_topk_prob: own.bool('expert_weights_norm', false),
    routed_scaling_factor: own.float('expert_weights_scale', 1),
    n_group: own.int('expert_group_count', 1),
    topk_group: own.int('expert_group_used_count', 1),
  };
}

const SHARED_MIXTURE: Readonly<Record<string, TensorRule>> = {
  ...QWEN_EXPERTS,
  'blk.{l}.exp_probs_b': bare(`${MLP}.gate.e_score_correction_bias`),
  'blk.{l}.ffn_gate_shexp': `${MLP}.shared_experts.gate_proj`,
  'blk.{l}.ffn_up_shexp': `${MLP}.shared_experts.up_proj`,
  'blk.{l}.ffn_down_shexp': `${MLP}.shared_experts.down_proj`,
};

/** The norm before the MLP is called post_attention_norm. */
export const glm4moe: Architecture = {
  names: ['glm4moe'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...sharedMixture(model),
    model_type: 'glm4_moe',
    partial_rotary_factor: rotatedFraction(model),
    attention_bias: model.has('blk.0.attn_q.bias'),
    use_qk_norm: model.has('blk.0.attn_q_norm.weight'),
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...QK_NORMS,
    ...SHARED_MIXTURE,
    'blk.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
  },
};

export const dots1: Architecture = {
  names: ['dots1'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...sharedMixture(model),
    model_type: 'dots1',
    attention_bias: model.has('blk.0.attn_q.bias'),
    sliding_window: null,
  }),
  tensors: { ...LLAMA_NAMES, ...QK_NORMS, ...SHARED_MIXTURE },
};

const SPARSE = 'model.layers.{l}.block_sparse_moe';

export const minimaxM2: Architecture = {
  names: ['minimax-m2'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...expertSizes(model, 'num_local_experts'),
    model_type: 'minimax_m2',
    intermediate_size: model.own.int('expert_feed_forward_length', undefined, 1),
    partial_rotary_factor: rotatedFraction(model),
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...QK_NORMS,
    ...experts({
      router: `${SPARSE}.gate`,
      gate: `${SPARSE}.experts.{e}.w1`,
      up: `${SPARSE}.experts.{e}.w3`,
      down: `${SPARSE}.experts.{e}.w2`,
    }),
    'blk.{l}.exp_probs_b': bare(`${SPARSE}.e_score_correction_bias`),
  },
};

export const ernie45moe: Architecture = {
  names: ['ernie4_5-moe'],
  async config(model) {
    const { own, nLayer, has } = model;
    const width = own.int('expert_feed_forward_length', undefined, 1);
    const { num_experts_per_tok: perToken, moe_num_experts } = expertSizes(model, 'moe_num_experts');
    return {
      ...(await llamaConfig(model)),
      model_type: 'ernie4_5_moe',
      moe_num_experts,
      moe_k: perToken,
      moe_intermediate_size: width,
      moe_num_shared_experts: Math.round(own.int('expert_shared_feed_forward_length', 0) / width),
      moe_layer_interval: own.int('interleave_moe_layer_step', 1, 1),
      moe_layer_start_index: own.int('leading_dense_block_count', 0),
      moe_layer_end_index: range(nLayer).findLastIndex((l) => has(`blk.${l}.ffn_gate_inp.weight`)),
      use_bias: has('blk.0.attn_q.bias'),
    };
  },
  tensors: {
    ...LLAMA_NAMES,
    ...SHARED_MIXTURE,
    'blk.{l}.exp_probs_b': bare(`${MLP}.moe_statics.e_score_correction_bias`),
  },
};

/** Windows with rotation, full layers without; a gate behind attention. */
export const afmoe: Architecture = {
  names: ['afmoe'],
  async config(model) {
    const { own } = model;
    return {
      ...(await llamaConfig(model)),
      ...expertSizes(model, 'num_experts'),
      model_type: 'afmoe',
      moe_intermediate_size: own.int('expert_feed_forward_length', undefined, 1),
      num_shared_experts: own.int('expert_shared_count', 0),
      num_dense_layers: own.int('leading_dense_block_count', 0),
      route_norm: own.bool('expert_weights_norm', true),
      route_scale: own.floatOrNull('expert_weights_scale') || 1,
      score_func: own.int('expert_gating_func', SIGMOID) === SIGMOID ? 'sigmoid' : 'softmax',
      sliding_window: own.int('attention.sliding_window', undefined, 1),
      ...slidingTypes(model, 4),
      // llama.cpp scales the embedding always.
      mup_enabled: true,
    };
  },
  tensors: {
    ...LLAMA_NAMES,
    ...QK_NORMS,
    ...SHARED_MIXTURE,
    'blk.{l}.ffn_norm': 'model.layers.{l}.pre_mlp_layernorm',
    'blk.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
    'blk.{l}.post_ffw_norm': 'model.layers.{l}.post_mlp_layernorm',
    'blk.{l}.attn_gate': 'model.layers.{l}.self_attn.gate_proj',
    'blk.{l}.ffn_gate_inp': `${MLP}.router.gate`,
    'blk.{l}.exp_probs_b': bare(`${MLP}.expert_bias`),
  },
};

const DBRX = 'transformer.blocks.{l}';
const ATTENTION = `${DBRX}.norm_attn_norm`;
/** All experts below each other, without a suffix. */
const below = (to: string): TensorRule => ({
  each: (tensor, _, layer) => {
    const [count, rows, cols] = tensor.shape;
    return [{ ...tensor, name: to.replace('{l}', layer), shape: [count * rows, cols] }];
  },
});

export const dbrx: Architecture = {
  names: ['dbrx'],
  config(model) {
    const { own } = model;
    return {
      ...tokens(model),
      model_type: 'dbrx',
      d_model: model.nEmbd,
      n_layers: model.nLayer,
      n_heads: model.nHead,
      max_seq_len: own.int('context_length', 2048, 1),
      attn_config: {
        kv_n_heads: model.nQueryGroups,
        rope_theta: ropeTheta(model),
        clip_qkv: own.floatOrNull('attention.clamp_kqv') || null,
      },
      ffn_config: {
        ffn_hidden_size: own.int('feed_forward_length', undefined, 1),
        moe_num_experts: own.int('expert_count', undefined, 1),
        moe_top_k: own.int('expert_used_count', undefined, 1),
      },
    };
  },
  tensors: {
    token_embd: 'transformer.wte',
    output_norm: 'transformer.norm_f',
    output: 'lm_head',
    'blk.{l}.attn_norm': `${ATTENTION}.norm_1`,
    'blk.{l}.attn_output_norm': `${ATTENTION}.norm_2`,
    'blk.{l}.attn_qkv': `${ATTENTION}.attn.Wqkv`,
    'blk.{l}.attn_output': `${ATTENTION}.attn.out_proj`,
    'blk.{l}.ffn_gate_inp': `${DBRX}.ffn.router.layer`,
    'blk.{l}.ffn_gate_exps': below(`${DBRX}.ffn.experts.mlp.w1`),
    'blk.{l}.ffn_up_exps': below(`${DBRX}.ffn.experts.mlp.v1`),
    'blk.{l}.ffn_down_exps': {
      each: (tensor, _, layer) => [turnedEntries(tensor, `${DBRX.replace('{l}', layer)}.ffn.experts.mlp.w2`)],
    },
  },
};

const DELTA = 'model.layers.{l}.linear_attn';

/** Queries, keys and values of a gated delta net, and its gate, are one tensor in the family: by key heads. */
export const qwen3next: Architecture = {
  names: ['qwen3next'],
  config: async (model) => ({
    ...(await deltaSizes(model)),
    ...qwenExperts(model),
    model_type: 'qwen3_next',
    shared_expert_intermediate_size: model.own.int('expert_shared_feed_forward_length', 0),
    norm_topk_prob: model.own.bool('expert_weights_norm', true),
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...DELTA_NAMES,
    ...QWEN_EXPERTS,
    ...SHARED_EXPERT,
    // In files of 2025 as in the family.
    'blk.{l}.ssm_in': `${DELTA}.in_proj_qkvz`,
    'blk.{l}.ssm_ba': `${DELTA}.in_proj_ba`,
    'blk.{l}.attn_qkv': {
      each(qkv, suffix, layer, model) {
        const { keys, values, keySize, valueSize } = deltaHeads(model);
        const gate = model.tensors.get(`blk.${layer}.attn_gate${suffix}`);
        if (!gate) throw model.own.fail('ssm.group_count', `belongs to a file without blk.${layer}.attn_gate`);
        const width = qkv.shape[1];
        const rows = (values / keys) * valueSize;
        const byHead = (start: number, height: number) => ({
          ...slicedRows(qkv, qkv.name, start, keys * height),
          shape: [keys, height, width],
        });
        const size = keys * keySize;
        const parts = [byHead(0, keySize), byHead(size, keySize), byHead(2 * size, rows)];
        const name = `${DELTA.replace('{l}', layer)}.in_proj_qkvz${suffix}`;
        const whole = stackedEntries([...parts, { ...gate, shape: [keys, rows, width] }], name);
        return [{ ...whole, shape: [whole.shape[0] * whole.shape[1], width] }];
      },
    },
    'blk.{l}.attn_gate': { each: () => [] },
    // Stored as -e^a.
    'blk.{l}.ssm_a': {
      each: (tensor, _, l) => [mapped(tensor, `${DELTA.replace('{l}', l)}.A_log`, (a) => Math.log(-a))],
    },
    'blk.{l}.ssm_dt': bare(`${DELTA}.dt_bias`),
    'blk.{l}.ssm_conv1d': `${DELTA}.conv1d`,
    'blk.{l}.ssm_out': `${DELTA}.out_proj`,
  },
};
