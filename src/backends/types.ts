/**
 * @file What the model needs of whatever runs its graph: ONNX Runtime in Node or in the browser.
 */
import type { PlaneData } from '../kvcache/buffers/plane.ts';
import type { PreparedWeights } from '../weights/types.ts';

export type TensorData = PlaneData | BigInt64Array;

/** A tensor at the graph's border. Inputs are read in place: change `data` and run again. */
export interface RuntimeTensor {
  readonly data: unknown;
  readonly dims: readonly number[];
}

export type Tensors = Readonly<Record<string, RuntimeTensor>>;

export interface SessionOptions {
  /** Threads for one operator; all cores unless stated. */
  readonly threads?: number;
}

export interface Session {
  run(inputs: Tensors): Promise<Tensors>;
  /** Gives native memory back; the session can't be used afterwards. */
  dispose(): Promise<void>;
}

export interface Runtime {
  readonly name: string;
  tensor(data: TensorData, dims: readonly number[]): RuntimeTensor;
  /** @throws GraphError where the runtime refuses the model. */
  createSession(model: Uint8Array, weights: PreparedWeights, options?: SessionOptions): Promise<Session>;
}
