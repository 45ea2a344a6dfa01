/**
 * @file What a backend is: it computes traced models. ONNX Runtime and ggml are backends.
 */
import type { SlotArray, SlotData } from '../kvcache/buffers/slot-array.ts';
import type { KeyMath } from '../kvcache/shape.ts';
import type { OpGraph } from '../ops/graph.ts';
import type { GraphTarget } from '../ops/target.ts';
import type { WeightCodec } from '../weights/codec.ts';
import type { PreparedWeights } from '../weights/types.ts';

export type TensorData =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint16Array
  | Uint8Array
  | Int8Array
  | BigInt64Array;

/** An input of a step, read where it is: the same array may be changed and given again. */
export interface StepTensor {
  readonly data: TensorData;
  readonly dims: readonly number[];
  /** Of slots of a cache: what tells which numbers were written since an engine copied them. */
  readonly slots?: Pick<SlotArray<SlotData>, 'watch'>;
}

export type StepInputs = Readonly<Record<string, StepTensor>>;

export function tensorOf(data: TensorData, dims: readonly number[]): StepTensor {
  return { data, dims };
}

/** An output of a step, row-major. */
export interface StepOutput {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

export type StepOutputs = Readonly<Record<string, StepOutput>>;

export interface RunOptions {
  /** Stops a step while it runs, where the backend can; others stop after it. */
  readonly signal?: AbortSignal;
  /**
   * Whether the chunk's keys and values may be no outputs (`keys.L`, `values.L`) where the engine writes all of them to
   * the slots behind those in use. @default false
   */
  readonly placesChunk?: boolean;
}

export interface BackendOptions {
  /** Threads for one operator. @default all cores */
  readonly threads?: number;
}

/** A traced model, ready to run. */
export interface CompiledGraph {
  /** @throws GraphError where the backend fails; the signal's reason. */
  run(inputs: StepInputs, options?: RunOptions): Promise<StepOutputs>;
  /** Takes arrays of results that nothing reads any more: later runs may write to them. */
  recycle?(arrays: readonly Float32Array[]): void;
  /** Frees native memory; the graph can not be run afterwards. */
  dispose(): Promise<void>;
}

export interface Backend {
  readonly name: string;
  /** What the backend chooses while a model is traced for it. */
  readonly target: GraphTarget;
  /** How the backend stores parameters. */
  readonly codec: WeightCodec;
  /** @throws GraphError for a graph that the backend can not compute. */
  compile(graph: OpGraph, weights: PreparedWeights, options?: BackendOptions): Promise<CompiledGraph>;
  /**
   * How many graphs of a model are kept at a time; a further one takes the oldest one's memory.
   * @default all of them: they share the weights
   */
  keptGraphs?(weights: PreparedWeights): number;
  /** What computes with keys for the policies of a model's caches. @default the host does */
  keyMath?(options: BackendOptions): KeyMath & { dispose(): Promise<void> };
}
