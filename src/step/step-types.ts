/**
 * @file What a step is asked, and what it gives.
 */
import type { CacheLease } from '../kvcache/lease.ts';
import type { ChunkOutputs } from '../kvcache/rows/chunk.ts';
import type { AdapterHooks } from '../model/adapter-trace.ts';
import type { LayerProbe, ProbeOptions } from './probe.ts';

/** Positions of a row's tokens: one list, or one for each stream. */
export type TokenPositions = ArrayLike<number> | readonly ArrayLike<number>[];

export interface StepOptions {
  /** Which tokens' logits are wanted: none, each row's last, or all of them (padding left out). @default 'last' */
  readonly logits?: 'none' | 'last' | 'all';
  /**
   * Lengths of the whole sequences as far as they are known (a prompt that comes in chunks), per row: some rotary
   * scalings depend on them.
   * @default what the row holds after this chunk
   */
  readonly lengths?: readonly number[];
  /** Whether these are tokens of a prompt, the last of a prompt, or tokens that were generated. @default 'decode' */
  readonly phase?: ChunkOutputs['phase'];
  /**
   * Tells the chunk's tokens apart where a policy watches the attention or a model has recurrent states, so that a part
   * of the chunk can be taken back. For short chunks.
   */
  readonly eachQuery?: boolean;
  /**
   * For models whose tokens have several positions (time, height, width): per row, the positions of its tokens, one
   * list for each of the streams, or a single one for all of them.
   * @default the positions after the largest so far, the same in all streams
   */
  readonly positions?: readonly TokenPositions[];
  /** For models with cross-attention: per row and token, which states it attends to (0: not). @default all of them */
  readonly crossAttentionMask?: readonly (readonly ArrayLike<number>[])[];
  /** Looks at single queries, in a cache of one row. @internal */
  readonly probe?: ProbeOptions;
  /** The lease of the run that has the cache. */
  readonly lease?: CacheLease;
  /** Stops the step while it runs, where the engine can; the cache is left as it was. */
  readonly signal?: AbortSignal;
}

/** Live adapters as a step takes them: hooks of the graph, and their inputs. */
export interface StepAdapters {
  readonly hooks: AdapterHooks;
  /** Identifies the set of hooks. */
  readonly key: string;
  /** By name of the input. The arrays are the same from step to step. */
  readonly inputs: ReadonlyMap<
    string,
    { readonly data: Float32Array | BigInt64Array; readonly dims: readonly number[] }
  >;
}

export interface StepResult {
  /** [N, V] in the order of rows and tokens. */
  readonly logits: Float32Array;
  /** What `probe` asked for, by layer; null where a layer has no slots. @internal */
  readonly probes?: readonly (LayerProbe | null)[];
}
