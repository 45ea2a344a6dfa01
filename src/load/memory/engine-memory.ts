/**
 * @file What the plan of memory asks of an engine.
 */
import type { Config } from '../../config/config.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import type { OpGraph } from '../../ops/graph.ts';
import type { GraphTarget } from '../../ops/target.ts';
import type { Param } from '../../weights/types.ts';

/** What weights take of a running process, in bytes. */
export interface ResidentWeights {
  /** Copies in the layout that the engine multiplies fastest. */
  readonly private: number;
  /**
   * Pages of the prepared file, which are read in place. They are shared with other processes, and the system may drop
   * them.
   */
  readonly mapped: number;
}

/** The largest chunk of a run. */
export interface PlannedChunk {
  readonly config: Config;
  readonly cache: KVCache;
  /** The traced step. */
  readonly graph: OpGraph;
  /** Tokens that the sequence reaches. */
  readonly contextLength: number;
  /** Tokens of the chunk, and what they are read as: more where they are read twice. */
  readonly tokens: number;
  readonly length: number;
}

/** What the step of the largest chunk takes. */
export interface PlannedStep {
  /** Results of its operators, and what else it takes in the engine, in bytes. */
  readonly bytes: number;
  /** How often a chunk's keys and values are in memory besides the cache. */
  readonly chunkCopies: number;
}

/** All chunks of a run. */
export interface PlannedRun {
  readonly chunks: number;
  /** Keys and values of a chunk. */
  readonly chunkBytes: number;
}

export interface EngineMemory {
  readonly name: string;
  readonly target: GraphTarget;
  /** Parameters in the file of prepared weights, in bytes. */
  fileBytes(params: readonly Param[]): number;
  /** @param tokens that are read: each touches a row of the embedding. */
  resident(config: Config, params: readonly Param[], tokens: number): ResidentWeights;
  /** The process with a model that has not computed anything, without its tokenizer. */
  runtime(config: Config, graph: OpGraph): number;
  /** What the step of a chunk takes. */
  step(chunk: PlannedChunk): PlannedStep;
  /** What is not given back yet, and small things. */
  garbage(run: PlannedRun): number;
}
