/**
 * @file What an entry of the table of GGUF architectures is: how metadata become a config.json, and tensors get Hugging
 * Face's names.
 */
import { range } from '../../util/numbers.ts';
import type { StoredTensor } from '../types.ts';
import type { Metadata } from './metadata.ts';
import { endTokenIds, specialTokenId } from './special-tokens.ts';

/** What a row is given. */
export interface GgufModel {
  /** Metadata below the architecture's name. */
  readonly own: Metadata;
  readonly all: Metadata;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Layers, without those for drafting (multi-token prediction). */
  readonly nLayer: number;
  readonly nHead: number;
  /** Of the first layer that has attention. */
  readonly nQueryGroups: number;
  readonly headSize: number;
  readonly nEmbd: number;
  has(tensor: string): boolean;
  /** All values of a small tensor; null where there is none. */
  values(tensor: string): Promise<number[] | null>;
}

export type Json = Record<string, unknown>;

/**
 * Where a module's tensors go. `{l}` is the layer; `.weight` and `.bias` are kept.
 * A function makes the tensors itself, given the tensor and its suffix; `name` is the module's new name.
 */
export type TensorRule =
  | string
  | { readonly to: string; readonly make: (tensor: StoredTensor, name: string, model: GgufModel) => StoredTensor }
  | {
      readonly each: (tensor: StoredTensor, suffix: string, layer: string, model: GgufModel) => readonly StoredTensor[];
    };

/** A small tensor that is given by its values. */
export interface StatedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

export interface Architecture {
  /** The values of general.architecture. */
  readonly names: readonly string[];
  readonly config: (model: GgufModel) => Json | Promise<Json>;
  /** GGUF module → where its tensors go. Modules that are not listed are an error. */
  readonly tensors: Readonly<Record<string, TensorRule>>;
  /** Tensors that the config has taken in, or that nothing needs. */
  readonly ignore?: readonly RegExp[];
  /** Tensors of the family whose values are metadata in the file. */
  readonly stated?: (model: GgufModel) => readonly StatedTensor[];
  /** Whether a layer has attention. @default true */
  readonly hasHeads?: boolean;
}

/** The module names that most architectures share. */
export const LLAMA_NAMES = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
  'blk.{l}.attn_norm': 'model.layers.{l}.input_layernorm',
  'blk.{l}.ffn_norm': 'model.layers.{l}.post_attention_layernorm',
  'blk.{l}.attn_q': 'model.layers.{l}.self_attn.q_proj',
  'blk.{l}.attn_k': 'model.layers.{l}.self_attn.k_proj',
  'blk.{l}.attn_v': 'model.layers.{l}.self_attn.v_proj',
  'blk.{l}.attn_output': 'model.layers.{l}.self_attn.o_proj',
  'blk.{l}.ffn_gate': 'model.layers.{l}.mlp.gate_proj',
  'blk.{l}.ffn_up': 'model.layers.{l}.mlp.up_proj',
  'blk.{l}.ffn_down': 'model.layers.{l}.mlp.down_proj',
} as const satisfies Readonly<Record<string, string>>;

/** Norms of queries and keys, as most families have them. */
export const QK_NORMS = {
  'blk.{l}.attn_q_norm': 'model.layers.{l}.self_attn.q_norm',
  'blk.{l}.attn_k_norm': 'model.layers.{l}.self_attn.k_norm',
} as const;

/** Sizes and token ids by Llama's keys. `intermediate_size` of layers that differ is refused. */
export function baseConfig(model: GgufModel): Json {
  const { own, nLayer, nEmbd, nHead, nQueryGroups, headSize } = model;
  const widths = new Set(own.intsPer(nLayer, 'feed_forward_length', 0));
  if (widths.size > 1)
    throw own.fail('feed_forward_length', 'differs from layer to layer, which this architecture is not run with');
  return {
    hidden_size: nEmbd,
    num_hidden_layers: nLayer,
    num_attention_heads: nHead,
    num_key_value_heads: nQueryGroups,
    head_dim: headSize,
    intermediate_size: [...widths][0],
    ...tokens(model),
    max_position_embeddings: own.int('context_length', 2048, 1),
  };
}

/** Vocabulary, token ids, and whether the head is the embedding. */
export function tokens({ all, tensors, has }: GgufModel): Json {
  const size = tensors.get('token_embd.weight')?.shape[0];
  const ends = endTokenIds(all, size ?? 0);
  return {
    vocab_size: size,
    bos_token_id: specialTokenId(all, 'bos', size ?? 0) ?? undefined,
    eos_token_id: ends.length > 1 ? ends : ends[0],
    tie_word_embeddings: !has('output.weight'),
  };
}

export const rmsEps = ({ own }: GgufModel): number => own.float('attention.layer_norm_rms_epsilon');
export const layerEps = ({ own }: GgufModel): number => own.float('attention.layer_norm_epsilon');
export const ropeTheta = ({ own }: GgufModel): number => own.float('rope.freq_base', 10_000);

/** Which part of a head is rotated, where it is not the whole. */
export function rotatedFraction({ own, headSize }: GgufModel): number {
  return own.int('rope.dimension_count', headSize, 1) / headSize;
}

/** The values of {@link baseConfig} and {@link rope}: a decoder whose keys are rotated. */
export async function ropedConfig(model: GgufModel): Promise<Json> {
  return { ...baseConfig(model), ...(await rope(model)) };
}

/** rope_theta and rope_scaling. */
export async function rope(model: GgufModel): Promise<Json> {
  return { rope_theta: ropeTheta(model), rope_scaling: await ropeScaling(model) };
}

async function ropeScaling(model: GgufModel): Promise<Json | null> {
  const { own } = model;
  const context = own.int('context_length', 2048, 1);
  const original = own.int('rope.scaling.original_context_length', context, 1);
  const long = await model.values('rope_factors_long.weight');
  const short = await model.values('rope_factors_short.weight');
  if (long && short)
    return {
      rope_type: 'longrope',
      short_factor: short,
      long_factor: long,
      original_max_position_embeddings: original,
      ...(own.has('rope.scaling.attn_factor') ? { attention_factor: own.float('rope.scaling.attn_factor') } : {}),
    };
  // Divisors of the frequencies, as Llama 3's scaling makes them: the same for every length.
  const divisors = await model.values('rope_freqs.weight');
  if (divisors)
    return {
      rope_type: 'longrope',
      short_factor: divisors,
      long_factor: divisors,
      original_max_position_embeddings: context,
      attention_factor: 1,
    };
  // 0 stands for none, and a factor without a type is linear.
  const factor = own.float('rope.scaling.factor', own.float('rope.scale_linear', 0)) || 1;
  const type = own.text('rope.scaling.type', 'linear');
  switch (type) {
    case 'none':
      return null;
    case 'linear':
      return factor === 1 ? null : { rope_type: 'linear', factor };
    case 'yarn':
      return {
        rope_type: 'yarn',
        factor,
        original_max_position_embeddings: original,
        beta_fast: own.float('rope.scaling.yarn_beta_fast', 32),
        beta_slow: own.float('rope.scaling.yarn_beta_slow', 1),
        ...(own.has('rope.scaling.attn_factor')
          ? // ggml multiplies this with 1 + 0.1 ln(factor); the config's value stands for both.
            { attention_factor: own.float('rope.scaling.attn_factor') * (1 + 0.1 * Math.log(Math.max(1, factor))) }
          : {}),
      };
    default:
      throw own.fail('rope.scaling.type', `is ${JSON.stringify(type)}; none, linear, yarn and longrope are read`);
  }
}

/** The window, where there is one. */
export const slidingWindow = ({ own }: GgufModel): number | null => own.intOrNull('attention.sliding_window') || null;

/** Every which layer is full (a number, `usual` where the file is silent), or which are sliding (a list). */
export function slidingLayers({ own, nLayer }: GgufModel, usual: number): Json {
  const key = 'attention.sliding_window_pattern';
  if (!own.isList(key)) return { sliding_window_pattern: own.int(key, usual, 1) };
  const sliding = own.bools(key).slice(0, nLayer);
  return { layer_types: sliding.map((on) => (on ? 'sliding_attention' : 'full_attention')) };
}

/** Which layers have a window, by the file's list, or all but every `usual`-th. */
export function slidingTypes(model: GgufModel, usual: number): Json {
  const { sliding_window_pattern: every, ...listed } = slidingLayers(model, usual);
  if (every === undefined) return listed;
  return {
    layer_types: range(model.nLayer).map((l) =>
      (l + 1) % Number(every) === 0 ? 'full_attention' : 'sliding_attention',
    ),
  };
}
