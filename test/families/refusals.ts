/**
 * @file Options of config.json that a family has and Keyhold does not compute: each must be refused, by name.
 */
import { readConfig } from '../../src/families/read-config.ts';
import { ConfigError } from '../../src/util/errors.ts';
import { configJson } from '../support/family-cases.ts';

/** Case whose config is changed, and what is put into it. */
type Refusal = readonly [name: string, change: Readonly<Record<string, unknown>>];

const MLLAMA = 'mllama_text';
export const REFUSALS: readonly Refusal[] = [
  ['llama', { partial_rotary_factor: 0.5 }],
  ['llama', { rope_scaling: { rope_type: 'proportional', factor: 2 } }],
  ['llama', { head_dim: 5 }],
  ['llama', { hidden_act: 'glu' }],
  ['llama', { pruned_heads: { 0: [1] } }],
  ['mistral', { attention_bias: true }],
  ['qwen2', { layer_types: ['chunked_attention', 'full_attention'] }],
  ['gpt_neox', { partial_rotary_factor: 1.5 }],
  ['gpt2', { scale_attn_by_inverse_layer_idx: true }],
  ['gpt2', { add_cross_attention: true }],
  ['codegen', { n_head: 2 }],
  ['bloom', { apply_residual_connection_post_layernorm: true }],
  ['starcoder2', { norm_type: 'rms_norm' }],
  ['starcoder2', { mlp_type: 'gated' }],
  ['phimoe', { num_experts_per_tok: 1 }],
  ['dbrx', { tie_word_embeddings: true }],
  ['cohere2', { use_parallel_block: false }],
  ['cohere2', { rotary_pct: 0.5 }],
  ['granite', { position_embedding_type: 'nope' }],
  ['jetmoe', { num_attention_heads: 3 }],
  ['moshi', { tie_word_embeddings: true }],
  ['recurrent_gemma', { block_types: ['recurrent', 'convolution'] }],
  ['recurrent_gemma', { lru_width: 30 }],
  ['recurrent_gemma', { block_types: ['recurrent'] }],
  [MLLAMA, { cross_attention_layers: [2] }],
  [MLLAMA, { tie_word_embeddings: true }],
  ['qwen2_vl_text', { model_type: 'qwen2_vl_text', rope_scaling: { type: 'mrope', mrope_section: [2, 1, 2] } }],
  ['esm', { position_embedding_type: 'relative_key' }],
  ['esm', { is_decoder: true }],
  ['esm', { is_folding_model: true }],
  ['esm', { token_dropout: true, mask_token_id: null }],
  ['pixtral_vision', { head_dim: 7 }],
  ['gemma4-31b', { attention_bias: true }],
  ['gemma4-26b', { top_k_experts: 5 }],
  ['gemma3n', { altup_active_idx: 1 }],
  ['gemma3n', { activation_sparsity_pattern: [1, 0, 0, 0, 0, 0] }],
  ['gemma4-e2b', { num_kv_shared_layers: 5 }],
  ['apertus', { hidden_act: 'silu' }],
  ['falcon_h1', { mamba_d_ssm: 32 }],
  ['falcon_h1', { attention_bias: true }],
  ['smollm3', { no_rope_layers: [1, 2, 0, 1] }],
  ['exaone4', { layer_types: null, sliding_window_pattern: 'LLX' }],
  ['granitemoehybrid-dense', { position_embedding_type: 'alibi' }],
  ['gpt_neo', { attention_layers: ['global', 'local', 'global', 'sparse'] }],
  ['gpt_neo', { attention_layers: null, attention_types: [[['global'], 3]] }],
  ['mpt', { attn_config: { alibi: false } }],
  ['mpt', { attn_config: { qk_ln: true } }],
  ['nanochat', { rope_parameters: { rope_type: 'yarn', factor: 2, rope_theta: 10_000 } }],
];

export interface RefusedOption {
  readonly name: string;
  readonly option: string;
  readonly words: string;
}

/**
 * Tries them all.
 * @throws Error where an option is read after all, or its name is not in the message.
 */
export function refusedOptions(): RefusedOption[] {
  return REFUSALS.map(([name, change]) => {
    const json = configJson(name);
    const text = json.text_config as Record<string, unknown> | undefined;
    const option = Object.entries(change)
      .filter(([key]) => key !== 'model_type')
      .map(([key, value]) => `${key} = ${JSON.stringify(value)}`)
      .join(', ');
    try {
      readConfig({ ...json, ...text, ...change }, '');
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const words = error.message.replace(/^: /, '');
      if (
        !Object.keys(change).some((key) => words.includes(key)) &&
        !/mrope_section|rope_type|eos|embeddings/.test(words)
      )
        throw new Error(`${name}: ${option} is refused, but not by name: ${words}`);
      return { name, option, words };
    }
    throw new Error(`${name}: ${option} is read, though it is not computed`);
  });
}
