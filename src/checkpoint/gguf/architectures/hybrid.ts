/**
 * @file Architectures with states: lfm2, lfm2moe (short convolutions), qwen35, qwen35moe (gated delta nets).
 */
import { type Architecture, type GgufModel, type Json, LLAMA_NAMES, type TensorRule } from '../architecture.ts';
import { mapped, pickedColumns, pickedRows } from '../rearrange.ts';
import { bare, expertsOf, oneLess } from '../rules.ts';
import { llamaConfig } from './llama.ts';
import { expertSizes, QWEN_EXPERTS, SHARED_EXPERT } from './moe.ts';

const LFM = 'model.layers.{l}';
const LFM_NAMES = {
  token_embd: 'model.embed_tokens',
  // The norm behind the last layer has two names, by the age of the file.
  token_embd_norm: 'model.embedding_norm',
  output_norm: 'model.embedding_norm',
  output: 'lm_head',
  'blk.{l}.attn_norm': `${LFM}.operator_norm`,
  'blk.{l}.ffn_norm': `${LFM}.ffn_norm`,
  'blk.{l}.attn_q': `${LFM}.self_attn.q_proj`,
  'blk.{l}.attn_k': `${LFM}.self_attn.k_proj`,
  'blk.{l}.attn_v': `${LFM}.self_attn.v_proj`,
  'blk.{l}.attn_output': `${LFM}.self_attn.out_proj`,
  'blk.{l}.attn_q_norm': `${LFM}.self_attn.q_layernorm`,
  'blk.{l}.attn_k_norm': `${LFM}.self_attn.k_layernorm`,
  'blk.{l}.shortconv.in_proj': `${LFM}.conv.in_proj`,
  'blk.{l}.shortconv.conv': `${LFM}.conv.conv`,
  'blk.{l}.shortconv.out_proj': `${LFM}.conv.out_proj`,
  'blk.{l}.ffn_gate': `${LFM}.feed_forward.w1`,
  'blk.{l}.ffn_up': `${LFM}.feed_forward.w3`,
  'blk.{l}.ffn_down': `${LFM}.feed_forward.w2`,
} as const;

/** Layers without key heads are convolutions. */
async function lfmConfig(model: GgufModel): Promise<Json> {
  const { rms_norm_eps, ...base } = await llamaConfig(model);
  const conv = model.own.intsPer(model.nLayer, 'attention.head_count_kv').map((heads) => heads === 0);
  const first = conv.indexOf(true);
  return {
    ...base,
    norm_eps: rms_norm_eps,
    layer_types: conv.map((on) => (on ? 'conv' : 'full_attention')),
    conv_L_cache: model.own.int('shortconv.l_cache', undefined, 2),
    conv_bias: first >= 0 && model.has(`blk.${first}.shortconv.in_proj.bias`),
  };
}

export const lfm2: Architecture = {
  names: ['lfm2'],
  config: async (model) => ({ ...(await lfmConfig(model)), model_type: 'lfm2', block_auto_adjust_ff_dim: false }),
  tensors: LFM_NAMES,
};

export const lfm2moe: Architecture = {
  names: ['lfm2moe'],
  config: async (model) => ({
    ...(await lfmConfig(model)),
    ...expertSizes(model, 'num_experts'),
    model_type: 'lfm2_moe',
    num_dense_layers: model.own.int('leading_dense_block_count', 0),
    moe_intermediate_size: model.own.int('expert_feed_forward_length', undefined, 1),
    norm_topk_prob: model.own.bool('expert_weights_norm', true),
    routed_scaling_factor: model.own.floatOrNull('expert_weights_scale') || 1,
    use_expert_bias: [...model.tensors.keys()].some((name) => name.endsWith('.exp_probs_b.bias')),
  }),
  tensors: {
    ...LFM_NAMES,
    'blk.{l}.ffn_gate_inp': `${LFM}.feed_forward.gate`,
    'blk.{l}.exp_probs_b': bare(`${LFM}.feed_forward.expert_bias`),
    'blk.{l}.ffn_gate_exps': expertsOf(`${LFM}.feed_forward.experts.{e}.w1`),
    'blk.{l}.ffn_up_exps': expertsOf(`${LFM}.feed_forward.experts.{e}.w3`),
    'blk.{l}.ffn_down_exps': expertsOf(`${LFM}.feed_forward.experts.{e}.w2`),
  },
};

/** Heads of a gated delta net. */
export function deltaHeads({ own }: GgufModel) {
  const keys = own.int('ssm.group_count', undefined, 1);
  const values = own.int('ssm.time_step_rank', undefined, 1);
  const keySize = own.int('ssm.state_size', undefined, 1);
  const valueSize = own.int('ssm.inner_size', undefined, 1) / values;
  if (!Number.isInteger(valueSize) || values % keys !== 0)
    throw own.fail('ssm.inner_size', 'does not fit the heads of ssm.time_step_rank and ssm.group_count');
  return { keys, values, keySize, valueSize };
}

/**
 * Of which value head in the file a value of the family is: files count the j-th head of each key head together (j, key
 * head), the family the heads of each key head (key head, j).
 * @param size values of a head.
 * @param from values before them stay.
 */
function valueOrder(model: GgufModel, size: (valueSize: number) => number, from = 0): (index: number) => number {
  const { keys, values, valueSize } = deltaHeads(model);
  const ratio = values / keys;
  const width = size(valueSize);
  return (index) => {
    if (index < from) return index;
    const head = Math.floor((index - from) / width);
    return from + ((head % ratio) * keys + Math.floor(head / ratio)) * width + ((index - from) % width);
  };
}

const DELTA = 'model.layers.{l}.linear_attn';
/** Queries and keys come before the values. */
const keysWidth = (model: GgufModel): number => {
  const { keys, keySize } = deltaHeads(model);
  return 2 * keys * keySize;
};
const byValue = (to: string, size: (valueSize: number) => number, from?: (model: GgufModel) => number): TensorRule => ({
  to,
  make: (tensor, name, model) => pickedRows(tensor, name, tensor.shape[0], valueOrder(model, size, from?.(model) ?? 0)),
});
const oneValue = (to: string, map?: (value: number) => number): TensorRule => ({
  each: (tensor, _, layer, model) => {
    const name = to.replace('{l}', layer);
    const flat = { ...tensor, shape: [tensor.shape.reduce((a, b) => a * b, 1)] };
    const source = map ? mapped(flat, name, map) : flat;
    return [
      pickedRows(
        source,
        name,
        source.shape[0],
        valueOrder(model, () => 1),
      ),
    ];
  },
});

const whole = (valueSize: number) => valueSize;
/** Norms of models with gated delta nets; all but that of the delta net are stored as 1 + w. */
export const DELTA_NAMES: Readonly<Record<string, TensorRule>> = {
  output_norm: oneLess('model.norm'),
  'blk.{l}.attn_norm': oneLess('model.layers.{l}.input_layernorm'),
  'blk.{l}.post_attention_norm': oneLess('model.layers.{l}.post_attention_layernorm'),
  'blk.{l}.attn_q_norm': oneLess('model.layers.{l}.self_attn.q_norm'),
  'blk.{l}.attn_k_norm': oneLess('model.layers.{l}.self_attn.k_norm'),
  'blk.{l}.ssm_norm': `${DELTA}.norm`,
};

const QWEN35_NAMES: Readonly<Record<string, TensorRule>> = {
  ...LLAMA_NAMES,
  ...DELTA_NAMES,
  'blk.{l}.attn_qkv': byValue(`${DELTA}.in_proj_qkv`, whole, keysWidth),
  'blk.{l}.attn_gate': byValue(`${DELTA}.in_proj_z`, whole),
  'blk.{l}.ssm_beta': byValue(`${DELTA}.in_proj_b`, () => 1),
  'blk.{l}.ssm_alpha': byValue(`${DELTA}.in_proj_a`, () => 1),
  'blk.{l}.ssm_conv1d': byValue(`${DELTA}.conv1d`, whole, keysWidth),
  // Stored as -e^a.
  'blk.{l}.ssm_a': oneValue(`${DELTA}.A_log`, (a) => Math.log(-a)),
  'blk.{l}.ssm_dt': oneValue(`${DELTA}.dt_bias`),
  'blk.{l}.ssm_out': {
    to: `${DELTA}.out_proj`,
    make: (tensor, name, model) => pickedColumns(tensor, name, valueOrder(model, whole)),
  },
};

export async function deltaSizes(model: GgufModel): Promise<Json> {
  const { own, headSize } = model;
  const { rope_scaling: _, ...base } = await llamaConfig(model);
  const { keys, values, keySize, valueSize } = deltaHeads(model);
  const every = own.int('full_attention_interval', 4, 1);
  return {
    ...base,
    full_attention_interval: every,
    linear_num_key_heads: keys,
    linear_num_value_heads: values,
    linear_key_head_dim: keySize,
    linear_value_head_dim: valueSize,
    linear_conv_kernel_dim: own.int('ssm.conv_kernel', undefined, 2),
    partial_rotary_factor: own.int('rope.dimension_count', headSize, 1) / headSize,
    layer_types: Array.from({ length: model.nLayer }, (_, l) =>
      model.has(`blk.${l}.ssm_out.weight`) ? 'linear_attention' : 'full_attention',
    ),
  };
}

export const qwen35: Architecture = {
  names: ['qwen35'],
  config: async (model) => ({ ...(await deltaSizes(model)), model_type: 'qwen3_5_text' }),
  tensors: QWEN35_NAMES,
};

export const qwen35moe: Architecture = {
  names: ['qwen35moe'],
  async config(model) {
    const { intermediate_size: _, ...base } = await deltaSizes(model);
    return {
      ...base,
      ...expertSizes(model, 'num_experts'),
      model_type: 'qwen3_5_moe_text',
      moe_intermediate_size: model.own.int('expert_feed_forward_length', undefined, 1),
      shared_expert_intermediate_size: model.own.int('expert_shared_feed_forward_length', 0),
    };
  },
  tensors: { ...QWEN35_NAMES, ...QWEN_EXPERTS, ...SHARED_EXPERT },
};
