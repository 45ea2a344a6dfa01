/**
 * @file What the graph made of one chunk, as the cache takes it.
 */
import type { Reduction } from '../policy/needs.ts';

/** Attention weights of a chunk, reduced over queries. */
export interface ReducedWeights {
  /**
   * How many there are for each layer and group: one for each query (set t is query t), or one for each of the policy's
   * needs.
   */
  readonly sets: number;
  /**
   * By part of a table (of one layer: policies that observe do not share tables), [B, G, sets, C + T]: G groups of the
   * part, C as `capacity` says. [.., S] with S <= C where the chunk was written to the slots first, behind those in use;
   * [.., T] where only those of the chunk are wanted.
   */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** Attention weights on slots and chunk. */
export interface ObservedWeights {
  /** Whether every query has a set of its own. */
  readonly each: boolean;
  /** By part of a table: C, the slots that there were when the graph ran. */
  readonly capacity: ReadonlyMap<string, number>;
  /** What the policy needs. */
  readonly reduced: Readonly<Partial<Record<Reduction, ReducedWeights>>>;
}

/** Sums over the chunk's queries before they were rotated. */
export interface ObservedQueries {
  /** By layer of the model (null where it holds no slots), [B, H, keySize]. */
  readonly sum: readonly (Float32Array | null)[];
  /**
   * The same of outer products, [B, H, keySize, keySize]; null where the chunk is one token long: they are those of
   * `sum` then.
   */
  readonly outer: readonly (Float32Array | null)[];
}

/** States of recurrent layers, after some of the chunk's tokens. */
export interface ChunkStates {
  /** Per row: after how many tokens, S of them. */
  readonly times: readonly (readonly number[])[];
  /** By name, [B, S, ...dims]. */
  readonly values: ReadonlyMap<string, Float32Array>;
}

export interface ChunkOutputs {
  /** Tokens of each row; a row may have fewer than the chunk is long (the rest is padding, and is not stored). */
  readonly tokens: readonly ArrayLike<number>[];
  /** T: length of the chunk. */
  readonly length: number;
  /**
   * Whether the engine has written keys and values to the slots behind those in use: `keys` and `values` are null.
   * @default false
   */
  readonly isPlaced?: boolean;
  /**
   * Of a chunk that is placed: whether a part of it can be dropped from the slots, as nothing was evicted for it.
   * @default false
   */
  readonly leavesRest?: boolean;
  /** By layer of the model (null where it holds no slots): the chunk's keys [B, G, T, keySize]. */
  readonly keys: readonly (Float32Array | null)[];
  /** The same of values [B, G, T, valueSize]. */
  readonly values: readonly (Float32Array | null)[];
  /** Whether these are tokens of a prompt, the last of a prompt, or tokens that were written. */
  readonly phase: 'prompt' | 'prompt-end' | 'decode';
  /** Where the model has recurrent layers. */
  readonly states?: ChunkStates;
  /** Per row and token, where the caller gave positions: the largest that its key is rotated to. */
  readonly ropePositions?: readonly (readonly number[])[];
  /**
   * Per row: the length of the sequence that the chunk's keys were rotated for, where the model's frequencies depend on
   * it.
   */
  readonly rotatedFor?: readonly number[];
  /** Where the policy asked for them. */
  readonly observed?: ObservedWeights;
  readonly queries?: ObservedQueries;
  /**
   * By part of a table, [B, G, C + T]: each key's product with the sum of the directions of all keys, padding included.
   * The sums are those of {@link KeySums}, and the chunk's keys are as the model made them.
   */
  readonly keyProducts?: ReadonlyMap<string, Float32Array>;
}
