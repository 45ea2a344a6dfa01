/**
 * @file A session of ONNX Runtime as a compiled graph; the same for all builds of ONNX Runtime.
 */
import { GraphError } from '../../util/errors.ts';
import {
  type CompiledGraph,
  type StepInputs,
  type StepOutputs,
  type StepTensor,
  type TensorData,
  tensorOf,
} from '../types.ts';
import type { OnnxModel } from './lower/lower-by.ts';

export type OnnxDtype = 'float32' | 'int64' | 'float16' | 'uint8' | 'int8' | 'float64';

/** What of a build of ONNX Runtime is used. `T` are its tensors. */
export interface OnnxSession<T> {
  tensor(dtype: OnnxDtype, data: TensorData, dims: readonly number[]): T;
  /** @throws errors of this library. */
  run(feeds: Readonly<Record<string, T>>): Promise<unknown>;
  release(): Promise<void>;
}

export class OnnxGraph<T> implements CompiledGraph {
  readonly #session: OnnxSession<T>;
  readonly #model: OnnxModel;
  /** The tensors of inputs that are given again and again: those of a cache, of a chunk's length, of adapters. */
  readonly #tensors = new WeakMap<StepTensor, { readonly tensor: T }>();

  constructor(session: OnnxSession<T>, model: OnnxModel) {
    this.#session = session;
    this.#model = model;
  }

  async run(inputs: StepInputs): Promise<StepOutputs> {
    const feeds: Record<string, T> = {};
    for (const name of this.#model.inputs)
      feeds[name] = this.#tensor(name, inputs[name] ?? lengthsOf(this.#model, name, inputs));
    return (await this.#session.run(feeds)) as StepOutputs;
  }

  #tensor(name: string, input: StepTensor | undefined): T {
    if (!input) throw new GraphError(`the step has no input ${name}`);
    let known = this.#tensors.get(input);
    if (!known) {
      const { data, dims } = input;
      known = { tensor: this.#session.tensor(dtypeOf(data), data, this.#model.dimsOf(name, dims)) };
      this.#tensors.set(input, known);
    }
    return known.tensor;
  }

  dispose(): Promise<void> {
    return this.#session.release();
  }
}

/** An input that holds lengths of others; undefined where `name` is none. */
export function lengthsOf({ lengths }: OnnxModel, name: string, inputs: StepInputs): StepTensor | undefined {
  const sums = lengths.get(name);
  if (!sums) return undefined;
  const lengthOf = (of: string) => inputs[of].dims.at(-1)!;
  const data = BigInt64Array.from(sums, (names) => BigInt(names.reduce((sum, of) => sum + lengthOf(of), 0)));
  return tensorOf(data, [data.length]);
}

export function dtypeOf(data: TensorData): OnnxDtype {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof BigInt64Array) return 'int64';
  if (data instanceof Uint16Array) return 'float16';
  if (data instanceof Uint8Array) return 'uint8';
  return data instanceof Int8Array ? 'int8' : 'float64';
}
