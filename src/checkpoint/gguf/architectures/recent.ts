/**
 * @file Architectures of late 2025: apertus, hunyuan-dense, hunyuan-moe, mistral3.
 */
import { type Architecture, type GgufModel, type Json, LLAMA_NAMES, QK_NORMS } from '../architecture.ts';
import { rotatedRows } from '../rules.ts';
import { llamaConfig } from './llama.ts';
import { expertSizes, QWEN_EXPERTS } from './moe.ts';

/** What of the activation is learned, by layer: metadata in the file, tensors in the family. */
const XIELU = ['alpha_p', 'alpha_n', 'beta', 'eps'] as const;

export const apertus: Architecture = {
  names: ['apertus'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'apertus',
    hidden_act: 'xielu',
    attention_bias: model.has('blk.0.attn_q.bias'),
    mlp_bias: model.has('blk.0.ffn_up.bias'),
  }),
  tensors: {
    ...LLAMA_NAMES,
    ...QK_NORMS,
    'blk.{l}.attn_norm': 'model.layers.{l}.attention_layernorm',
    'blk.{l}.ffn_norm': 'model.layers.{l}.feedforward_layernorm',
  },
  ignore: [/^rope_freqs\.weight$/],
  stated: ({ all, nLayer }) =>
    XIELU.flatMap((key) => {
      const values = all.numbers(`xielu.${key}`);
      if (values.length !== nLayer) throw all.fail(`xielu.${key}`, `has ${values.length} values for ${nLayer} layers`);
      return values.map((value, l) => ({ name: `model.layers.${l}.mlp.act_fn.${key}`, shape: [1], values: [value] }));
    }),
};

const HUNYUAN_NAMES = {
  ...LLAMA_NAMES,
  'blk.{l}.attn_q_norm': 'model.layers.{l}.self_attn.query_layernorm',
  'blk.{l}.attn_k_norm': 'model.layers.{l}.self_attn.key_layernorm',
};

/** Its scaling of positions is in the base of the frequencies. */
export const hunyuanDense: Architecture = {
  names: ['hunyuan-dense'],
  config: async (model) => ({
    ...(await llamaConfig(model)),
    model_type: 'hunyuan_v1_dense',
    attention_bias: model.has('blk.0.attn_q.bias'),
  }),
  tensors: HUNYUAN_NAMES,
};

export const hunyuanMoe: Architecture = {
  names: ['hunyuan-moe'],
  async config(model) {
    const { num_experts_per_tok, ...sizes } = expertSizes(model, 'num_experts');
    const base = await llamaConfig(model);
    return {
      ...base,
      ...sizes,
      moe_topk: num_experts_per_tok,
      moe_intermediate_size: model.own.int('expert_feed_forward_length', Number(base.intermediate_size), 1),
      intermediate_size: model.own.int('expert_shared_feed_forward_length', Number(base.intermediate_size), 1),
      model_type: 'hunyuan_v1_moe',
      attention_bias: model.has('blk.0.attn_q.bias'),
    };
  },
  tensors: {
    ...HUNYUAN_NAMES,
    ...QWEN_EXPERTS,
    'blk.{l}.ffn_gate_inp': 'model.layers.{l}.mlp.gate.wg',
    'blk.{l}.ffn_gate_shexp': 'model.layers.{l}.mlp.shared_mlp.gate_proj',
    'blk.{l}.ffn_up_shexp': 'model.layers.{l}.mlp.shared_mlp.up_proj',
    'blk.{l}.ffn_down_shexp': 'model.layers.{l}.mlp.shared_mlp.down_proj',
  },
};

/** Ministral 3 states how queries grow with their position; older models of this architecture are Mistral's. */
async function mistralConfig(model: GgufModel): Promise<Json> {
  const { own } = model;
  const base = await llamaConfig(model);
  const beta = own.floatOrNull('attention.temperature_scale') ?? 0;
  if (beta === 0) return { ...base, model_type: 'mistral', sliding_window: null };
  const { rope_theta, rope_scaling, ...rest } = base;
  const { attention_factor: _, ...scaling } = (rope_scaling ?? { rope_type: 'default' }) as Json;
  const mscale = own.float('rope.scaling.yarn_log_multiplier', 1);
  return {
    ...rest,
    model_type: 'ministral3',
    sliding_window: null,
    rope_parameters: { ...scaling, rope_theta, mscale, mscale_all_dim: mscale, llama_4_scaling_beta: beta },
  };
}

export const mistral3: Architecture = {
  names: ['mistral3'],
  config: mistralConfig,
  tensors: {
    ...LLAMA_NAMES,
    'blk.{l}.attn_q': rotatedRows('model.layers.{l}.self_attn.q_proj', 'nHead'),
    'blk.{l}.attn_k': rotatedRows('model.layers.{l}.self_attn.k_proj', 'nQueryGroups'),
  },
};
