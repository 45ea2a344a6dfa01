/**
 * @file Models with Mamba-2 and attention: granitehybrid (Granite 4, Bamba), nemotron_h, nemotron_h_moe, falcon-h1.
 */
import { range } from '../../../util/numbers.ts';
import {
  type Architecture,
  type GgufModel,
  type Json,
  LLAMA_NAMES,
  rotatedFraction,
  type TensorRule,
  tokens,
} from '../architecture.ts';
import { stackedEntries } from '../rearrange.ts';
import { bare, expertsOf, ROTATED } from '../rules.ts';
import { graniteFactors, llamaConfig } from './llama.ts';
import { mamba2Rules } from './mamba.ts';
import { expertSizes, granitemoe } from './moe.ts';

/** Heads and sizes of Mamba-2, by the keys of most families. */
function mamba2Sizes({ own, nEmbd, has }: GgufModel, layer: number): Json {
  const [inner, heads] = [own.int('ssm.inner_size', undefined, 1), own.int('ssm.time_step_rank', undefined, 1)];
  if (inner % heads !== 0) throw own.fail('ssm.inner_size', `is ${inner}, no multiple of the ${heads} heads`);
  return {
    mamba_n_heads: heads,
    mamba_d_head: inner / heads,
    mamba_expand: inner / nEmbd,
    mamba_d_state: own.int('ssm.state_size', undefined, 1),
    mamba_d_conv: own.int('ssm.conv_kernel', undefined, 2),
    mamba_n_groups: own.int('ssm.group_count', 1, 1),
    mamba_conv_bias: has(`blk.${layer}.ssm_conv1d.bias`),
    mamba_proj_bias: has(`blk.${layer}.ssm_in.bias`),
  };
}

/** Gate and up below each other, as the family has them. @param made of the module's name and suffix. */
const gateUp = (gate: string, up: string, to: string): Readonly<Record<string, TensorRule>> => ({
  [`blk.{l}.${gate}`]: {
    each: (tensor, suffix, layer, { tensors }) => {
      const other = tensors.get(`blk.${layer}.${up}${suffix}`);
      const one = (part: typeof tensor) => ({ ...part, shape: [1, ...part.shape] });
      const both = stackedEntries(other ? [one(tensor), one(other)] : [one(tensor)], to.replace('{l}', layer) + suffix);
      return [{ ...both, shape: both.shape.slice(1) }];
    },
  },
  [`blk.{l}.${up}`]: { each: () => [] },
});

const SHARED = 'model.layers.{l}.shared_mlp';

/** Layers without key heads are state spaces. Without experts, the MLP is the family's shared one. */
export const granitehybrid: Architecture = {
  names: ['granitehybrid'],
  async config(model) {
    const { own, nLayer } = model;
    const { intermediate_size: width, ...base } = await llamaConfig(model);
    const heads = own.intsPer(nLayer, 'attention.head_count_kv');
    const experts = own.int('expert_count', 0);
    return {
      ...base,
      ...graniteFactors(model),
      ...mamba2Sizes(model, heads.indexOf(0)),
      ...(experts > 0 ? expertSizes(model, 'num_local_experts') : { num_local_experts: 0 }),
      model_type: 'granitemoehybrid',
      intermediate_size: width,
      shared_intermediate_size: experts > 0 ? own.int('expert_shared_feed_forward_length', undefined, 1) : width,
      layer_types: heads.map((count) => (count > 0 ? 'full_attention' : 'linear_attention')),
      partial_rotary_factor: rotatedFraction(model),
      // Granite 4 rotates nothing; llama.cpp tells by this key.
      position_embedding_type: own.bool('rope.scaling.finetuned', false) ? 'rope' : 'nope',
    };
  },
  tensors: {
    ...granitemoe.tensors,
    ...ROTATED,
    ...mamba2Rules('model.layers.{l}.mamba'),
    ...gateUp('ffn_gate', 'ffn_up', `${SHARED}.input_linear`),
    ...gateUp('ffn_gate_shexp', 'ffn_up_shexp', `${SHARED}.input_linear`),
    'blk.{l}.ffn_down': `${SHARED}.output_linear`,
    'blk.{l}.ffn_down_shexp': `${SHARED}.output_linear`,
  },
};

const NEMOTRON = 'backbone.layers.{l}.mixer';

/** Each layer is one branch: a state space, attention, an MLP or experts. Nothing is rotated. */
export const nemotronH: Architecture = {
  names: ['nemotron_h', 'nemotron_h_moe'],
  config(model) {
    const { own, nLayer, has } = model;
    const heads = own.intsPer(nLayer, 'attention.head_count_kv');
    const kinds = range(nLayer).map((l) => {
      if (has(`blk.${l}.ssm_in.weight`)) return 'linear_attention';
      if (has(`blk.${l}.ffn_gate_inp.weight`)) return 'moe';
      return heads[l] > 0 ? 'full_attention' : 'mlp';
    });
    const sizes = mamba2Sizes(model, Math.max(0, kinds.indexOf('linear_attention')));
    const widths = own.intsPer(nLayer, 'feed_forward_length', 0);
    const mlp = kinds.indexOf('mlp');
    return {
      ...tokens(model),
      model_type: 'nemotron_h',
      hidden_size: model.nEmbd,
      layers_block_type: kinds,
      num_attention_heads: model.nHead,
      num_key_value_heads: model.nQueryGroups,
      head_dim: model.headSize,
      intermediate_size: mlp < 0 ? Math.max(...widths, 1) : widths[mlp],
      mlp_bias: mlp >= 0 && has(`blk.${mlp}.ffn_up.bias`),
      layer_norm_epsilon: own.float('attention.layer_norm_rms_epsilon'),
      max_position_embeddings: own.int('context_length', 2048, 1),
      mamba_num_heads: sizes.mamba_n_heads,
      mamba_head_dim: sizes.mamba_d_head,
      ssm_state_size: sizes.mamba_d_state,
      conv_kernel: sizes.mamba_d_conv,
      n_groups: sizes.mamba_n_groups,
      use_conv_bias: sizes.mamba_conv_bias,
      mamba_proj_bias: sizes.mamba_proj_bias,
      ...(own.int('expert_count', 0) > 0 ? nemotronExperts(model) : {}),
    };
  },
  tensors: {
    token_embd: 'backbone.embeddings',
    output_norm: 'backbone.norm_f',
    output: 'lm_head',
    'blk.{l}.attn_norm': 'backbone.layers.{l}.norm',
    'blk.{l}.attn_q': `${NEMOTRON}.q_proj`,
    'blk.{l}.attn_k': `${NEMOTRON}.k_proj`,
    'blk.{l}.attn_v': `${NEMOTRON}.v_proj`,
    'blk.{l}.attn_output': `${NEMOTRON}.o_proj`,
    'blk.{l}.ffn_up': `${NEMOTRON}.up_proj`,
    'blk.{l}.ffn_down': `${NEMOTRON}.down_proj`,
    'blk.{l}.ffn_gate_inp': `${NEMOTRON}.gate`,
    'blk.{l}.exp_probs_b': bare(`${NEMOTRON}.gate.e_score_correction_bias`),
    'blk.{l}.ffn_up_exps': expertsOf(`${NEMOTRON}.experts.{e}.up_proj`),
    'blk.{l}.ffn_down_exps': expertsOf(`${NEMOTRON}.experts.{e}.down_proj`),
    'blk.{l}.ffn_up_shexp': `${NEMOTRON}.shared_experts.up_proj`,
    'blk.{l}.ffn_down_shexp': `${NEMOTRON}.shared_experts.down_proj`,
    ...mamba2Rules(NEMOTRON),
  },
};

function nemotronExperts(model: GgufModel): Json {
  const { own, nLayer } = model;
  const widths = own.intsPer(nLayer, 'feed_forward_length', 0);
  const stacked = [...model.tensors].find(([name]) => name.endsWith('.ffn_up_exps.weight'))?.[1];
  return {
    ...expertSizes(model, 'n_routed_experts'),
    moe_intermediate_size: own.int('expert_feed_forward_length', stacked?.shape[1] ?? Math.max(...widths), 1),
    n_shared_experts: own.int('expert_shared_count', 1),
    moe_shared_expert_intermediate_size: own.int('expert_shared_feed_forward_length', undefined, 1),
    norm_topk_prob: own.bool('expert_weights_norm', true),
    routed_scaling_factor: own.float('expert_weights_scale', 1),
    n_group: own.int('expert_group_count', 1),
    topk_group: own.int('expert_group_used_count', 1),
  };
}

/** The family's factors are in the file's weights. */
export const falconH1: Architecture = {
  names: ['falcon-h1'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    ...mamba2Sizes(model, 0),
    model_type: 'falcon_h1',
    mamba_d_ssm: model.own.int('ssm.inner_size', undefined, 1),
    mamba_rms_norm: model.has('blk.0.ssm_norm.weight'),
    mamba_norm_before_gate: false,
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...mamba2Rules('model.layers.{l}.mamba'),
    output_norm: 'model.final_layernorm',
    'blk.{l}.ffn_norm': 'model.layers.{l}.pre_ff_layernorm',
    'blk.{l}.ffn_gate': 'model.layers.{l}.feed_forward.gate_proj',
    'blk.{l}.ffn_up': 'model.layers.{l}.feed_forward.up_proj',
    'blk.{l}.ffn_down': 'model.layers.{l}.feed_forward.down_proj',
  },
};
