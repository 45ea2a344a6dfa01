/**
 * @file Multi-head latent attention: deepseek2 (DeepSeek V2 and V3, and what is converted as it), minicpm3.
 */
import type { StoredTensor } from '../../types.ts';
import { type Architecture, type GgufModel, type Json, LLAMA_NAMES } from '../architecture.ts';
import { bare } from '../rules.ts';
import { llamaConfig } from './llama.ts';
import { QWEN_EXPERTS } from './moe.ts';

const ATTN = 'model.layers.{l}.self_attn';
/** What `expert_gating_func` says. */
const SIGMOID = 2;

/** Sizes of keys and values. Newer files also state those of the latent vectors, as if there was one head. */
function latentSizes({ own }: GgufModel) {
  const ropeSize = own.int('rope.dimension_count', undefined, 2);
  const keySize = own.int('attention.key_length_mla', own.int('attention.key_length'), ropeSize + 1);
  return {
    ropeSize,
    nopeSize: keySize - ropeSize,
    valueSize: own.int('attention.value_length_mla', own.int('attention.value_length'), 1),
    latent: own.int('attention.kv_lora_rank', undefined, 1),
  };
}

/** Youtu is converted as a model whose layers are all dense. */
const isDense = ({ tensors }: GgufModel): boolean =>
  ![...tensors.keys()].some((name) => name.includes('.ffn_gate_inp.'));

async function deepseekConfig(model: GgufModel): Promise<Json> {
  const { own, nHead } = model;
  const { rope_scaling, head_dim: _, ...base } = await llamaConfig(model);
  const { ropeSize, nopeSize, valueSize, latent } = latentSizes(model);
  const sizes = {
    qk_nope_head_dim: nopeSize,
    qk_rope_head_dim: ropeSize,
    v_head_dim: valueSize,
    kv_lora_rank: latent,
    q_lora_rank: own.intOrNull('attention.q_lora_rank') || null,
  };
  if (isDense(model)) return { ...base, ...sizes, model_type: 'youtu', num_key_value_heads: nHead, rope_scaling };
  const isSigmoid = own.int('expert_gating_func', 1) === SIGMOID;
  const groups = own.intOrNull('expert_group_count') ?? 1;
  const mscale = 10 * (own.floatOrNull('rope.scaling.yarn_log_multiplier') ?? 0);
  const { attention_factor: __, ...scaling } = (rope_scaling ?? {}) as Json;
  return {
    ...base,
    model_type: isSigmoid ? 'deepseek_v3' : 'deepseek_v2',
    num_key_value_heads: nHead,
    // A factor of both queries and keys, and none of the rotation.
    rope_scaling:
      rope_scaling === null ? null : { ...scaling, ...(mscale > 0 ? { mscale, mscale_all_dim: mscale } : {}) },
    ...sizes,
    n_routed_experts: own.int('expert_count', undefined, 1),
    n_shared_experts: own.int('expert_shared_count', undefined, 1),
    num_experts_per_tok: own.int('expert_used_count', undefined, 1),
    moe_intermediate_size: own.int('expert_feed_forward_length', undefined, 1),
    first_k_dense_replace: own.int('leading_dense_block_count', 0),
    norm_topk_prob: own.bool('expert_weights_norm', isSigmoid),
    routed_scaling_factor: own.floatOrNull('expert_weights_scale') || 1,
    n_group: groups,
    topk_group: own.intOrNull('expert_group_used_count') ?? 1,
    ...(isSigmoid ? {} : { topk_method: groups > 1 ? 'group_limited_greedy' : 'greedy' }),
  };
}

/** Rows of the keys [H, latent, nope], turned, and of the values [H, value, latent], head after head. */
function keysAndValues(model: GgufModel, keys: StoredTensor, values: StoredTensor, name: string): StoredTensor {
  const { nopeSize, valueSize, latent } = latentSizes(model);
  const [heads] = keys.shape;
  const height = nopeSize + valueSize;
  return {
    name,
    dtype: keys.dtype,
    format: keys.format,
    shape: [heads * height, latent],
    async readFloats(start, count) {
      const out = new Float32Array(count);
      const [first, last] = [Math.floor(start / latent), Math.ceil((start + count) / latent)];
      for (let head = Math.floor(first / height); head * height < last; head++) {
        const k = await keys.readFloats(head * latent * nopeSize, latent * nopeSize);
        const v = await values.readFloats(head * valueSize * latent, valueSize * latent);
        for (let row = Math.max(first, head * height); row < Math.min(last, (head + 1) * height); row++) {
          const inHead = row - head * height;
          for (let c = 0; c < latent; c++) {
            const at = row * latent + c - start;
            if (at < 0 || at >= count) continue;
            out[at] = inHead < nopeSize ? k[c * nopeSize + inHead] : v[(inHead - nopeSize) * latent + c];
          }
        }
      }
      return out;
    },
  };
}

const LATENT_NAMES = {
  ...LLAMA_NAMES,
  'blk.{l}.attn_q_a': `${ATTN}.q_a_proj`,
  'blk.{l}.attn_q_a_norm': `${ATTN}.q_a_layernorm`,
  'blk.{l}.attn_q_b': `${ATTN}.q_b_proj`,
  'blk.{l}.attn_kv_a_mqa': `${ATTN}.kv_a_proj_with_mqa`,
  'blk.{l}.attn_kv_a_norm': `${ATTN}.kv_a_layernorm`,
  'blk.{l}.attn_kv_b': `${ATTN}.kv_b_proj`,
} as const;

/** MiniCPM 3 4B is the one model of its architecture: files state neither its factors nor the size of its values. */
export const minicpm3: Architecture = {
  names: ['minicpm3'],
  async config(model) {
    const { own, nHead } = model;
    const { head_dim: _, ...base } = await llamaConfig(model);
    const ropeSize = own.int('rope.dimension_count', undefined, 2);
    const nopeSize = own.int('attention.key_length', undefined, ropeSize + 1) - ropeSize;
    const rows = model.tensors.get('blk.0.attn_kv_b.weight')?.shape[0] ?? 0;
    return {
      ...base,
      model_type: 'minicpm3',
      num_key_value_heads: nHead,
      qk_nope_head_dim: nopeSize,
      qk_rope_head_dim: ropeSize,
      v_head_dim: rows / nHead - nopeSize,
      kv_lora_rank: own.int('attention.kv_lora_rank', undefined, 1),
      q_lora_rank: own.intOrNull('attention.q_lora_rank') || null,
      scale_emb: own.float('embedding_scale', 12),
      scale_depth: own.has('residual_scale') ? own.float('residual_scale') * Math.sqrt(model.nLayer) : 1.4,
      dim_model_base: own.has('logit_scale') ? Math.round(model.nEmbd / own.float('logit_scale')) : 256,
    };
  },
  tensors: LATENT_NAMES,
  ignore: [/^rope_factors_(long|short)\.weight$/],
};

export const deepseek2: Architecture = {
  names: ['deepseek2'],
  config: deepseekConfig,
  tensors: {
    ...LATENT_NAMES,
    ...QWEN_EXPERTS,
    // The same in newer files, taken apart.
    'blk.{l}.attn_k_b': {
      each(keys, suffix, layer, model) {
        const values = model.tensors.get(`blk.${layer}.attn_v_b${suffix}`);
        if (!values) throw model.own.fail('attention.kv_lora_rank', `belongs to a file without blk.${layer}.attn_v_b`);
        return [keysAndValues(model, keys, values, `${ATTN.replace('{l}', layer)}.kv_b_proj${suffix}`)];
      },
    },
    'blk.{l}.attn_v_b': { each: () => [] },
    'blk.{l}.exp_probs_b': bare('model.layers.{l}.mlp.gate.e_score_correction_bias'),
    'blk.{l}.ffn_gate_shexp': 'model.layers.{l}.mlp.shared_experts.gate_proj',
    'blk.{l}.ffn_up_shexp': 'model.layers.{l}.mlp.shared_experts.up_proj',
    'blk.{l}.ffn_down_shexp': 'model.layers.{l}.mlp.shared_experts.down_proj',
  },
};
