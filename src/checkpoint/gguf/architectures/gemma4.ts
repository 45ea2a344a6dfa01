/**
 * @file Gemma 4: norms are plain; heads, key heads and MLPs differ from layer to layer; experts beside the MLP.
 */
import { range } from '../../../util/numbers.ts';
import { type Architecture, type GgufModel, type Json, rmsEps, tokens } from '../architecture.ts';
import { GEMMA_LAYER_NAMES } from './gemma3n.ts';

const layer = 'model.layers.{l}';

/** Rotation of full layers: `rope_freqs` divides the frequencies of pairs that do not rotate by a huge number. */
async function ropes(model: GgufModel, full: number): Promise<Json> {
  const { own } = model;
  const divisors = await model.values('rope_freqs.weight');
  const pairs = divisors?.filter((divisor) => divisor < 1e6).length ?? full / 2;
  return {
    full_attention: {
      rope_type: 'proportional',
      partial_rotary_factor: (2 * pairs) / full,
      rope_theta: own.float('rope.freq_base', 1e6),
    },
    sliding_attention: { rope_type: 'default', rope_theta: own.float('rope.freq_base_swa', 1e4) },
  };
}

export const gemma4: Architecture = {
  names: ['gemma4'],
  async config(model) {
    const { own, nLayer, nEmbd, nHead, has } = model;
    const key = 'attention.sliding_window_pattern';
    if (!own.isList(key)) throw own.fail(key, 'must list which layers have a window');
    const sliding = own.bools(key).slice(0, nLayer);
    const groups = own.intsPer(nLayer, 'attention.head_count_kv', nHead);
    const widths = own.intsPer(nLayer, 'feed_forward_length');
    const full = own.int('attention.key_length', undefined, 1);
    const head = own.int('attention.key_length_swa', full, 1);
    const shared = own.int('attention.shared_kv_layers', 0);
    const double = widths[nLayer - 1] === 2 * widths[0];
    if (widths.some((width, l) => width !== (double && l >= nLayer - shared ? 2 : 1) * widths[0]))
      throw own.fail('feed_forward_length', 'must be of one size, or of twice that in layers that share keys');
    const experts = own.int('expert_count', 0);
    const firstFull = sliding.indexOf(false);
    return {
      model_type: 'gemma4_text',
      hidden_size: nEmbd,
      num_hidden_layers: nLayer,
      num_attention_heads: nHead,
      num_key_value_heads: groups[Math.max(0, sliding.indexOf(true))],
      head_dim: head,
      intermediate_size: widths[0],
      max_position_embeddings: own.int('context_length', undefined, 1),
      ...tokens(model),
      rms_norm_eps: rmsEps(model),
      hidden_activation: 'gelu_pytorch_tanh',
      sliding_window: own.int('attention.sliding_window', 512, 1),
      layer_types: sliding.map((on) => (on ? 'sliding_attention' : 'full_attention')),
      per_layer_config: Object.fromEntries(
        range(nLayer).map((l) => [l, { head_dim: sliding[l] ? head : full, num_key_value_heads: groups[l] }]),
      ),
      rope_parameters: await ropes(model, full),
      attention_k_eq_v: firstFull >= 0 && !has(`blk.${firstFull}.attn_v.weight`),
      num_kv_shared_layers: shared,
      use_double_wide_mlp: double,
      final_logit_softcapping: own.floatOrNull('final_logit_softcapping') || null,
      hidden_size_per_layer_input: own.int('embedding_length_per_layer_input', 0),
      ...(experts > 0
        ? {
            enable_moe_block: true,
            num_experts: experts,
            top_k_experts: own.int('expert_used_count', undefined, 1),
            moe_intermediate_size: own.int('expert_feed_forward_length', undefined, 1),
          }
        : {}),
    };
  },
  tensors: {
    ...GEMMA_LAYER_NAMES,
    'blk.{l}.pre_ffw_norm_2': `${layer}.pre_feedforward_layernorm_2`,
    'blk.{l}.post_ffw_norm_1': `${layer}.post_feedforward_layernorm_1`,
    'blk.{l}.post_ffw_norm_2': `${layer}.post_feedforward_layernorm_2`,
    'blk.{l}.ffn_gate_inp': `${layer}.router.proj`,
    'blk.{l}.ffn_gate_inp.scale': `${layer}.router.scale`,
    'blk.{l}.ffn_gate_up_exps': {
      each: (tensor, _, l) => [{ ...tensor, name: `model.layers.${l}.experts.gate_up_proj` }],
    },
    'blk.{l}.ffn_down_exps': { each: (tensor, _, l) => [{ ...tensor, name: `model.layers.${l}.experts.down_proj` }] },
    'blk.{l}.ffn_down_exps.scale': `${layer}.router.per_expert_scale`,
    'blk.{l}.layer_output_scale': { each: (tensor, _, l) => [{ ...tensor, name: `model.layers.${l}.layer_scalar` }] },
  },
  ignore: [/(^|\.)rope_freqs\.weight$/],
};
