/**
 * @file What one layer is: its mixer (attention, or what stands in its place), its MLP, its norms and its rotation.
 *
 * Mixers and MLPs are discriminated unions, and each variant holds its own numbers, so that layers of one model may
 * differ in all of them. `Config.layers` has one record a layer; nothing about a layer is stated elsewhere.
 */
import type { Activation, MlpSpec, RouterSpec } from './mlp-spec.ts';
import type { NormSpec, QkNormSpec } from './norm-spec.ts';

export interface QueryTemperature {
  readonly beta: number;
  readonly floor: number;
  readonly offset: number;
}

/** The numbers of softmax attention over cached keys and values. */
export interface AttentionSpec {
  /** H: query heads. */
  readonly heads: number;
  /** G: key and value heads; divides `heads`. */
  readonly groups: number;
  /** Width of a query and of a key. */
  readonly keySize: number;
  /** Width of a value. */
  readonly valueSize: number;
  /** w: a query at position p attends to positions p - w + 1 … p. null: to all before it. */
  readonly window: number | null;
  /** c: a query at position p attends to positions ⌊p / c⌋ · c … p (Llama 4). */
  readonly chunk: number | null;
  /** What q·k is multiplied with. */
  readonly scale: number;
  /** Scores become cap · tanh(scores / cap). */
  readonly softcap: number | null;
  readonly qkNorm: QkNormSpec | null;
  /** Queries, keys and values are clipped to ±limit. */
  readonly clip: { readonly limit: number; readonly afterNorm: boolean } | null;
  /** Values are rotated like keys. */
  readonly rotateValues: boolean;
  /** A learned score of each head (`sinks` [H]) that takes part in the softmax and mixes no value. */
  readonly sinks: boolean;
  /** The result is multiplied with the sigmoid of another projection (`gate`, as wide as the result) before `proj`. */
  readonly gate: boolean;
  /** Rotated queries at position p are multiplied with 1 + beta · ln(1 + ⌊(p + offset) / floor⌋). */
  readonly temperature: QueryTemperature | null;
  readonly bias: { readonly qkv: boolean; readonly proj: boolean };
  /** Of each head's values, without a weight. @default none */
  readonly valueNorm?: NormSpec;
  /** Values are the keys as they are projected, before norm and rotation. @default false */
  readonly valuesAreKeys?: boolean;
}

export interface SelfAttention extends AttentionSpec {
  readonly kind: 'self-attention';
}

/** Attention to the keys and values of an earlier layer (Gemma 3n, Gemma 4): the layer has none of its own. */
export interface SharedAttention extends Omit<AttentionSpec, 'valueNorm' | 'valuesAreKeys'> {
  readonly kind: 'shared-attention';
  /** The layer whose keys and values are read. Window and sizes are the same there. */
  readonly source: number;
}

/**
 * Attention whose queries and output are made by the experts that a router chose (JetMoE, arXiv 2404.07413);
 * H = G · perToken.
 */
export interface HeadExperts extends AttentionSpec {
  readonly kind: 'head-experts';
  readonly experts: number;
  readonly router: RouterSpec;
}

/** The recurrent block of Griffin (arXiv 2402.19427). */
export interface RgLru {
  readonly kind: 'rg-lru';
  /** W: width of the recurrence. */
  readonly width: number;
  readonly convWidth: number;
  /** The gates' matrices are block diagonal, with so many blocks. */
  readonly blocks: number;
  /** Of the branch that gates the recurrence. */
  readonly activation: Activation;
}

/** Attention to states that the caller gives, such as those of an image. */
export interface CrossAttention {
  readonly kind: 'cross-attention';
  readonly heads: number;
  readonly groups: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly scale: number;
  readonly softcap: number | null;
  /** Width of the states. */
  readonly width: number;
  /** A norm of each head's queries and keys. */
  readonly qkNorm: NormSpec | null;
  /** Attention and MLP are multiplied with the tanh of a learned number, or of a vector. */
  readonly gate: 'number' | 'vector';
  /**
   * What is dropped for a token that may attend to no state: the result of the layer's `mlp` (its attention reads all
   * states then, and the layer is left out where there are no states at all), or of its `attention`.
   */
  readonly blind: 'mlp' | 'attention';
}

/** Gated delta net (arXiv 2412.06464), as Qwen3-Next and Qwen3.5 have it. */
export interface GatedDelta {
  readonly kind: 'gated-delta';
  /** Heads of queries and keys; divides `valueHeads`. */
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly convWidth: number;
  /** Of each head's result, before the gate. */
  readonly norm: NormSpec;
}

/** A gated short convolution (LFM2). */
export interface ShortConv {
  readonly kind: 'short-conv';
  readonly width: number;
  readonly convWidth: number;
  readonly bias: boolean;
}

/** Mamba (arXiv 2312.00752). */
export interface Mamba {
  readonly kind: 'mamba-1';
  /** I: width of the scan. */
  readonly width: number;
  /** N: state of one channel. */
  readonly stateSize: number;
  /** R: rank of the time steps. */
  readonly rank: number;
  readonly convWidth: number;
  /** Of the convolution, and of the projections in and out. */
  readonly bias: { readonly conv: boolean; readonly proj: boolean };
  /** Of what makes the time steps, of b and of c. */
  readonly norm: NormSpec | null;
}

/** Mamba-2 (arXiv 2405.21060). */
export interface Mamba2 {
  readonly kind: 'mamba-2';
  readonly heads: number;
  /** P: width of a head. */
  readonly headSize: number;
  /** G: groups of heads that share b and c; divides `heads`. */
  readonly groups: number;
  /** N: state of one channel. */
  readonly stateSize: number;
  readonly convWidth: number;
  readonly bias: { readonly conv: boolean; readonly proj: boolean };
  /** Time steps are clipped to these limits. */
  readonly timeLimit: readonly [low: number, high: number];
  /** Of the result, in groups of its width; null: the gate alone. */
  readonly norm: (NormSpec & { readonly groups: number; readonly place: 'before-gate' | 'after-gate' }) | null;
  /** Factors of the first projection's parts z, x, b, c and dt. @default 1 */
  readonly partScales?: readonly number[];
}

/**
 * Attention and Mamba-2 side by side (Falcon-H1, arXiv 2507.22448): both read the same values, and their results are
 * added.
 */
export interface AttentionMamba2 {
  readonly kind: 'attention-mamba-2';
  readonly attention: SelfAttention;
  readonly ssm: Mamba2;
  /** Factors of the two results. */
  readonly scales: { readonly attention: number; readonly ssm: number };
}

/**
 * Multi-head latent attention (arXiv 2405.04434): the cache holds one key a token for all heads, a rotated key followed
 * by a latent vector. The latent vector is the value, too.
 */
export interface LatentAttention {
  readonly kind: 'mla';
  readonly heads: number;
  /** Rank of the queries' projection; null: one matrix. */
  readonly queryRank: number | null;
  /** r: width of the latent vector. */
  readonly latentSize: number;
  /** Width of a head's query and key that is not rotated. */
  readonly nopeSize: number;
  /** Width of what is rotated. */
  readonly ropeSize: number;
  readonly valueSize: number;
  readonly scale: number;
  /** Of the latent vectors of queries and of keys. */
  readonly norm: NormSpec;
  /** Of the projections to the latent vectors, and of the one out. */
  readonly bias: boolean;
}

/** What combines tokens in a layer. */
export type MixerSpec =
  | SelfAttention
  | SharedAttention
  | HeadExperts
  | RgLru
  | CrossAttention
  | GatedDelta
  | ShortConv
  | Mamba
  | Mamba2
  | AttentionMamba2
  | LatentAttention;

/** The norms of a layer; null: there is none. */
export interface LayerNorms {
  /** `norm_1`: of what the mixer reads. */
  readonly beforeMixer: NormSpec | null;
  /** `post_attention_norm`: of the mixer's result, before it is added to the stream. */
  readonly afterMixer: NormSpec | null;
  /** `norm_2`: of what the MLP reads. */
  readonly beforeMlp: NormSpec | null;
  /** `post_mlp_norm` */
  readonly afterMlp: NormSpec | null;
  /** `norm_1`, `norm_2`: of the stream after the addition, as OPT-350m does. */
  readonly afterMixerAdd: NormSpec | null;
  readonly afterMlpAdd: NormSpec | null;
}

/** One layer: its mixer, its MLP, norms and rotation. */
export interface LayerSpec {
  /** null: the layer is its MLP alone. */
  readonly mixer: MixerSpec | null;
  /** null: the layer is its mixer alone. */
  readonly mlp: MlpSpec | null;
  readonly norms: LayerNorms;
  /**
   * `sequential`: the MLP reads the stream after the mixer's result was added; `parallel`: both read the same stream;
   * `parallel-shared`: both read the same normalized stream.
   */
  readonly residual: 'sequential' | 'parallel' | 'parallel-shared';
  /** Each branch is multiplied with it before it is added. */
  readonly residualScale: number;
  /** Each branch is multiplied with a learned vector before it is added. */
  readonly layerScale: boolean;
  /** The stream is multiplied with a learned number (`out.scale`) at the end of the layer. @default false */
  readonly outScale?: boolean;
  /** A low-rank branch beside the mixer, with norms of the decoder's kind (Gemma 3n). @default none */
  readonly laurel?: { readonly rank: number };
  /** Index into `Config.ropes`; null: nothing is rotated. */
  readonly rope: number | null;
  /** The layer's number in the checkpoint's names. */
  readonly checkpointIndex: number;
}

/** The keys and values of a layer, as a cache holds them. */
export interface SlotSpec extends Pick<AttentionSpec, 'heads' | 'groups' | 'keySize' | 'window' | 'chunk' | 'scale'> {
  /** 0: values are a part of the keys. */
  readonly valueSize: number;
}

/** What a cache holds for a mixer; null: no keys and values. */
export function slotSpec(mixer: MixerSpec | null): SlotSpec | null {
  if (mixer?.kind === 'mla') {
    const { heads, latentSize, ropeSize, scale } = mixer;
    return { heads, groups: 1, keySize: ropeSize + latentSize, valueSize: 0, window: null, chunk: null, scale };
  }
  return attentionWithin(mixer);
}

/** The attention of a mixer whose heads have keys and values of their own that a cache holds; null: it has none. */
export function attentionWithin(mixer: MixerSpec | null): SelfAttention | HeadExperts | null {
  if (mixer?.kind === 'attention-mamba-2') return mixer.attention;
  return keepsSlots(mixer) ? mixer : null;
}

/** Whether a mixer is such attention, and nothing else. */
export function keepsSlots(mixer: MixerSpec | null): mixer is SelfAttention | HeadExperts {
  return mixer?.kind === 'self-attention' || mixer?.kind === 'head-experts';
}
