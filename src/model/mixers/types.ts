/**
 * @file What the kinds of mixers read and give.
 */
import type { MixerSpec } from '../../config/layer-spec.ts';
import type { BufferChoice } from '../../kvcache/buffers.ts';
import type { Reduction } from '../../kvcache/policy/needs.ts';
import type { CachedKV, Rotation } from '../../ops/attention.ts';
import type { Value } from '../../ops/types.ts';

/** Mixers of the module that every model is traced with; cross-attention is a block of its own (gpt.ts). */
export type PlainMixer = 'self-attention' | 'cross-attention';
/** Mixers of further.ts. */
export type FurtherMixer = Exclude<MixerSpec['kind'], PlainMixer>;

/** What the kinds of mixers read. */
export interface MixerInputs {
  readonly attention: AttentionInputs | null;
  readonly states: StateInputs | null;
  /** Of the layer whose keys and values this one reads, and the rotation of its queries. */
  readonly shared: (SharedKV & Pick<AttentionInputs, 'rotation'>) | null;
}

export interface MixerOutputs extends Partial<Omit<AttentionOutputs, 'y'>> {
  /** [B, T, E] */
  readonly y: Value;
  /** States after the chunk, by name. */
  readonly next?: Readonly<Record<string, Value>>;
}

/** Slots that are read together. */
export interface SlotSource {
  /** The layer group, or a part of it. */
  readonly layerGroup: string;
  /** The layer's groups that they are of; null: all. */
  readonly groups: readonly number[] | null;
  /** [B, 1 or G, C] */
  readonly slots: Value;
  /** The logarithm of how many tokens each slot stands for [B, 1 or G, C]; null: for one. */
  readonly logTokens: Value | null;
  /** Declares the inputs of the layer's slots. */
  readonly inputs: () => CachedKV;
  /** Declares the sums of the directions of the slots' keys [B, G, 1, D]; null: their products are not wanted. */
  readonly keySums: (() => Value) | null;
}

/** What a layer's queries attend to besides the chunk's own tokens. */
export interface CachedTokens {
  readonly buffer: BufferChoice;
  readonly layerGroup: string;
  /** [B, T] */
  readonly positions: Value;
  /** One for all groups; or one for each part of them, where groups differ in their slots. */
  readonly sources: readonly SlotSource[];
}

/** A whole sequence without a cache. */
export interface WholeSequence {
  /** [B, T]: 0, or HIDDEN for padding. */
  readonly mask: Value;
  /** [B, T]: positions. */
  readonly order: Value;
}

/** The step's inputs that attention reads. */
export interface AttentionInputs {
  readonly source: CachedTokens | WholeSequence;
  /** null: no rotation. */
  readonly rotation: Rotation | null;
  readonly observed: ObservedInputs;
}

/** What a policy wants to see of a layer's attention. */
export interface ObservedInputs {
  /** How much each query counts in sums of the weights [B, sets, R·T]; null: they are not wanted. */
  readonly queryWeights: Value | null;
  /**
   * Of the sums of a {@link SlotSource}, by its name: of so many queries, from the first, one counts; 0: no sums are wanted.
   */
  readonly sumStepOf: (layerGroup: string) => number;
  /** Which queries count in maxima of the weights; null: they are not wanted. */
  readonly maxima: ObservedMaxima | null;
  /** The weight of each query in the moments of the queries [B, T]; null: they are not wanted. */
  readonly momentWeights: Value | null;
  /** Whether these are of the queries as they attend to slots that hold rotated keys. */
  readonly momentsRotated: boolean;
  /** null: the echo is not wanted of this layer. */
  readonly echo: EchoedChunk | null;
}

/** Maxima of the weights over queries. */
export interface ObservedMaxima {
  /** [B, sets or T, T] */
  readonly queryMask: Value;
  /** Whether the first set, or all T, are maxima over the chunk. */
  readonly ofChunk: boolean;
  /** {@link SlotSource}s whose last set is the echo: the maximum over queries that read the chunk once more. */
  readonly replay: ReadonlySet<string>;
}

/** The chunk, as if it were read once more behind itself. */
export interface EchoedChunk {
  /** Of the queries; null: they have no rotation. */
  readonly rotation: Rotation | null;
  /** [B, T] */
  readonly positions: Value;
  /** [B, E, T]: 0 for padding; E is 0 where nothing is wanted of a step. */
  readonly mask: Value;
  /** Whether it is wanted of a {@link SlotSource}, by its name. */
  readonly isWanted: (layerGroup: string) => boolean;
  /** Whether it is wanted of the slots, too, and not of the chunk alone. */
  readonly isOfHeld: (layerGroup: string) => boolean;
}

/** One number for each slot and token of the chunk: attention weights, reduced over queries, or products of keys. */
export interface ReducedOutput {
  readonly kind: Reduction | 'along';
  /** Whose slots they are: see {@link SlotSource}. */
  readonly layerGroup: string;
  /** [B, G, sets, C + T] of the source's groups; products have no sets. */
  readonly value: Value;
}

export interface AttentionOutputs {
  /** [B, T, E] */
  readonly y: Value;
  /**
   * The chunk's keys (normalized and rotated) [B, G, T, D], and values [B, G, T, Dv]; null: values are a part of the
   * keys.
   */
  readonly k: Value;
  readonly v: Value | null;
  /** None where they are not wanted. */
  readonly reduced: readonly ReducedOutput[];
  /** Σ w·q [B, H, D] and Σ w·q·qᵀ [B, H, D, D] of the queries before rotation. */
  readonly moments: { readonly sum: Value; readonly outer: Value } | null;
}

/** What the source layer's attention read and made. */
export interface SharedKV {
  readonly source: CachedTokens;
  /** Keys [B, G, T, D] and values [B, G, T, Dv] of the chunk. */
  readonly k: Value;
  readonly v: Value;
}

/** The step's inputs that a mixer with a state reads. */
export interface StateInputs {
  /** int64 [B, S]: after how many of the chunk's tokens a state is wanted. */
  readonly times: Value;
  /** [B, T] */
  readonly positions: Value;
}
