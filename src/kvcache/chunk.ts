/**
 * @file What the graph made of one chunk, as the cache takes it.
 */

/** Attention weights on slots and chunk. */
export interface ObservedWeights {
  /** How many sums there are for each layer and group. */
  readonly sets: number;
  /** Whether the sums are each query's own (set t is query t), or one for each thing that the policy needs. */
  readonly each: boolean;
  /** By class of layers: C, the slots that there were when the graph ran. */
  readonly capacity: ReadonlyMap<string, number>;
  /** By class of layers, [layers·B, G, sets, C + T]: summed over the heads of a group. */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** Sums over the chunk's queries before they were rotated. */
export interface ObservedQueries {
  /** [L·B, G, R, D] */
  readonly sum: Float32Array;
  /** [L·B, G, R, D, D] */
  readonly outer: Float32Array;
  /** By layer of the model: which of the L it is. */
  readonly order: readonly number[];
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
  /** [2·L·B, G, T, D]: keys and values of the first layer that has any, of the second, … */
  readonly present: Float32Array;
  /** Whether these are tokens of a prompt, the last of a prompt, or tokens that were written. */
  readonly phase: 'prompt' | 'prompt-end' | 'decode';
  /** Where the model has recurrent layers. */
  readonly states?: ChunkStates;
  /** Per row and token, where the caller said so: the furthest place that its key is rotated to. */
  readonly places?: readonly (readonly number[])[];
  /** Where the policy asked for them. */
  readonly observed?: ObservedWeights;
  readonly queries?: ObservedQueries;
}
