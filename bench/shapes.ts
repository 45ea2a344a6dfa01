/**
 * @file The shapes that are measured: config.json objects as they lie on the Hub, without what plays no part here.
 */

/** The keys of a config.json that the benchmark itself reads; the library reads the whole object. */
export type ShapeConfig = {
  model_type: 'llama' | 'qwen3';
  architectures: string[];
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  hidden_act: 'silu';
  max_position_embeddings: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_scaling: RopeScaling | null;
  tie_word_embeddings: true;
  attention_bias: false;
  vocab_size: number;
  bos_token_id: number;
  eos_token_id: number;
  torch_dtype: 'bfloat16';
};

type RopeScaling = {
  rope_type: 'llama3';
  factor: number;
  high_freq_factor: number;
  low_freq_factor: number;
  original_max_position_embeddings: number;
};

const common = {
  hidden_act: 'silu',
  rope_scaling: null,
  tie_word_embeddings: true,
  attention_bias: false,
  torch_dtype: 'bfloat16',
} as const;

const llama = { ...common, model_type: 'llama' as const, architectures: ['LlamaForCausalLM'], rms_norm_eps: 1e-5 };
const qwen3 = { ...common, model_type: 'qwen3' as const, architectures: ['Qwen3ForCausalLM'], rms_norm_eps: 1e-6 };

const configs = {
  'smollm-135m': {
    ...llama,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    head_dim: 64,
    // The real file says 2048; raised, so that the longest work has positions. Nothing else depends on it.
    max_position_embeddings: 8192,
    rope_theta: 10_000,
    vocab_size: 49_152,
    bos_token_id: 0,
    eos_token_id: 0,
  },
  'qwen3-0.6b': {
    ...qwen3,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 40_960,
    rope_theta: 1_000_000,
    vocab_size: 151_936,
    bos_token_id: 151_643,
    eos_token_id: 151_645,
  },
  'llama-3.2-1b': {
    ...llama,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    max_position_embeddings: 131_072,
    rope_theta: 500_000,
    rope_scaling: {
      rope_type: 'llama3',
      factor: 32,
      high_freq_factor: 4,
      low_freq_factor: 1,
      original_max_position_embeddings: 8192,
    },
    vocab_size: 128_256,
    bos_token_id: 128_000,
    eos_token_id: 128_001,
  },
  // For trying out the harness: its figures mean nothing.
  tiny: {
    ...qwen3,
    hidden_size: 128,
    intermediate_size: 256,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 32,
    max_position_embeddings: 8192,
    rope_theta: 10_000,
    vocab_size: 1024,
    bos_token_id: 1,
    eos_token_id: 2,
  },
} satisfies Record<string, ShapeConfig>;

export const shapes: Readonly<Record<string, ShapeConfig>> = configs;

/** What is measured when nothing is asked for. */
export const defaultShapes: readonly string[] = ['smollm-135m', 'qwen3-0.6b', 'llama-3.2-1b'];

/** Parameters, the tied head once. */
export function countParameters(config: ShapeConfig): number {
  return layout(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** One tensor under its names in both formats. */
export interface LayoutEntry {
  /** Name in a Hugging Face checkpoint. */
  readonly name: string;
  /** Name in a GGUF file. */
  readonly gguf: string;
  /** `[out, in]`, or `[n]` for norms. */
  readonly shape: readonly number[];
}

/** All tensors of a shape, in file order. The head is tied, so there is none of its own. */
export function layout(config: ShapeConfig): LayoutEntry[] {
  const { hidden_size: E, intermediate_size: F, head_dim: D } = config;
  const Q = config.num_attention_heads * D;
  const KV = config.num_key_value_heads * D;
  const entries: LayoutEntry[] = [
    { name: 'model.embed_tokens.weight', gguf: 'token_embd.weight', shape: [config.vocab_size, E] },
  ];
  for (let l = 0; l < config.num_hidden_layers; l++) {
    const add = (name: string, gguf: string, ...shape: number[]) =>
      entries.push({ name: `model.layers.${l}.${name}.weight`, gguf: `blk.${l}.${gguf}.weight`, shape });
    add('input_layernorm', 'attn_norm', E);
    add('self_attn.q_proj', 'attn_q', Q, E);
    add('self_attn.k_proj', 'attn_k', KV, E);
    add('self_attn.v_proj', 'attn_v', KV, E);
    add('self_attn.o_proj', 'attn_output', E, Q);
    if (config.model_type === 'qwen3') {
      add('self_attn.q_norm', 'attn_q_norm', D);
      add('self_attn.k_norm', 'attn_k_norm', D);
    }
    add('post_attention_layernorm', 'ffn_norm', E);
    add('mlp.gate_proj', 'ffn_gate', F, E);
    add('mlp.up_proj', 'ffn_up', F, E);
    add('mlp.down_proj', 'ffn_down', E, F);
  }
  entries.push({ name: 'model.norm.weight', gguf: 'output_norm.weight', shape: [E] });
  return entries;
}
