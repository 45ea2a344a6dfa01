/**
 * @file What a step is asked, and what it gives.
 */
import type { ChunkOutputs } from '../kvcache/chunk.ts';
import type { AdapterHooks } from '../model/adapter-trace.ts';

/** Positions of a row's tokens: one list, or one for each stream. */
export type TokenPositions = ArrayLike<number> | readonly ArrayLike<number>[];

export interface StepOptions {
  /** Which tokens' logits are wanted: none, each row's last, or all of them (padding left out). `last` unless stated. */
  readonly logits?: 'none' | 'last' | 'all';
  /**
   * Lengths of the whole sequences as far as they are known (a prompt that comes in chunks), per row: some rotary scalings
   * depend on them. Unless stated, what the row holds after this chunk.
   */
  readonly lengths?: readonly number[];
  /** Whether these are tokens of a prompt, the last of a prompt, or (unless stated) tokens that were written. */
  readonly phase?: ChunkOutputs['phase'];
  /**
   * Tells the chunk's tokens apart where a policy watches the attention or a model has recurrent states, so that a part of the chunk
   * can be taken back. For short chunks.
   */
  readonly eachQuery?: boolean;
  /**
   * For models whose tokens have several positions (time, height, width): per row, the positions of its tokens, one list for each of
   * the streams, or a single one for all of them. Unless stated, tokens follow the furthest position so far, in all streams alike.
   */
  readonly positions?: readonly TokenPositions[];
  /** For models that attend to attached states: per row and token, which of them it sees (0: not). All of them unless stated. */
  readonly sees?: readonly (readonly ArrayLike<number>[])[];
}

/** Live adapters as a step takes them: the graph's places, and what goes into them. */
export interface StepAdapters {
  readonly hooks: AdapterHooks;
  /** Says which hooks these are. */
  readonly key: string;
  /** By name of the input. The arrays live on from step to step. */
  readonly inputs: ReadonlyMap<
    string,
    { readonly data: Float32Array | BigInt64Array; readonly dims: readonly number[] }
  >;
}

export interface StepResult {
  /** [N, V] in the order of rows and tokens. */
  readonly logits: Float32Array;
}
