/**
 * @file What policies of caches want to know of keys, their quadratic forms and their products: graphs of few operators
 * that run at once, apart from the graphs of steps.
 */
import type { KeyForms, KeyMath, KeyProducts } from '../../../kvcache/shape.ts';
import { openGgml } from '../binding/binding.ts';
import type { Ggml } from '../binding/ggml.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { binary, unary } from '../lower/elementwise.ts';
import { GraphMaker } from '../lower/graph-maker.ts';
import type { Tensor } from '../memory/tensor.ts';

/** Tensors of the graph, its inputs included. */
const TENSORS = 16;

/** Keys that are multiplied with each other are filled up to a multiple, so that groups share their graphs. */
const KEYS = 32;
const KEPT_GRAPHS = 16;

/** A graph of float32 inputs and one output, which is computed at once. */
class SmallGraph {
  readonly #ggml: Ggml;
  readonly #backend: CpuBackend;
  readonly #maker: GraphMaker;
  readonly #inputs: readonly Float32Array[];
  readonly #result: Tensor;
  readonly #out: Float32Array;
  readonly #prepare: () => void;

  /** Whether one thread computes it. */
  readonly #alone: boolean;

  /** @param make the output of the graph, and how many numbers it has. */
  constructor(ggml: Ggml, backend: CpuBackend, alone: boolean, make: (maker: GraphMaker) => readonly [Tensor, number]) {
    const maker = new GraphMaker(ggml, TENSORS);
    const [result, numbers] = make(maker);
    ggml.ggml_set_output(result.pointer);
    ggml.ggml_build_forward_expand(maker.graph, result.pointer);
    this.#prepare = backend.graphMemory.allocate(maker.graph, maker.context).prepare;
    this.#inputs = maker.kept as Float32Array[];
    this.#out = new Float32Array(numbers);
    this.#result = result;
    this.#ggml = ggml;
    this.#backend = backend;
    this.#alone = alone;
    this.#maker = maker;
  }

  /** @param inputs in the order in which they were made; shorter ones leave the rest as it is. */
  run(...inputs: readonly (Float32Array | Float64Array)[]): Float32Array {
    for (const [i, own] of this.#inputs.entries()) own.set(inputs[i].subarray(0, own.length));
    this.#prepare();
    this.#backend.computeNow(this.#maker, this.#alone);
    this.#ggml.ggml_backend_tensor_get(this.#result.pointer, this.#out, 0, this.#out.byteLength);
    return this.#out;
  }

  dispose(): void {
    this.#maker.context.dispose();
  }
}

const inputOf = (maker: GraphMaker, ...dims: number[]): Tensor =>
  maker.over(new Float32Array(dims.reduce((a, b) => a * b)), dims);

/** Forms of n keys of D numbers by M matrices. */
function formsOf(maker: GraphMaker, n: number, M: number, D: number): readonly [Tensor, number] {
  const [keys, matrices, vectors] = [inputOf(maker, n, D), inputOf(maker, M * D, D), inputOf(maker, M, D)];
  const turned = maker.reshape(maker.multiply(matrices, keys), [n, M, D]);
  const squares = maker.sumLast(binary(maker, 'mul', turned, maker.reshape(keys, [n, 1, D])));
  const forms = unary(maker, 'relu', maker.reshape(squares, [n, M]));
  return [binary(maker, 'add', forms, maker.multiply(vectors, keys)), n * M];
}

/** Products of n keys with each other. */
function productsOf(maker: GraphMaker, n: number, D: number): readonly [Tensor, number] {
  const keys = inputOf(maker, n, D);
  return [maker.multiply(keys, keys), n * n];
}

/** For the keys of one model. What it takes is made when it is first asked for. */
export class GgmlKeyMath implements KeyMath {
  readonly #threads: number | undefined;
  /** Of its own, as a step may run on the model's meanwhile. */
  #backend: CpuBackend | null = null;
  /** By what they compute, the latest last. */
  readonly #graphs = new Map<string, SmallGraph>();

  /** @param threads @default all cores that the process may use */
  constructor(threads?: number) {
    this.#threads = threads;
  }

  readonly forms: KeyForms = (keys, count, size, matrices, vectors) => {
    const M = vectors.length / size;
    const graph = this.#graphFor(`forms/${count}/${M}/${size}`, false, (maker) => formsOf(maker, count, M, size));
    return graph.run(keys, matrices, vectors);
  };

  readonly products: KeyProducts = (keys, count, size) => {
    const stride = Math.ceil(count / KEYS) * KEYS;
    // 0.1 ms of one core.
    const graph = this.#graphFor(`products/${stride}/${size}`, true, (maker) => productsOf(maker, stride, size));
    return { products: graph.run(keys.subarray(0, count * size)), stride };
  };

  #graphFor(key: string, alone: boolean, make: (maker: GraphMaker) => readonly [Tensor, number]): SmallGraph {
    let graph = this.#graphs.get(key);
    if (!graph) {
      const ggml = openGgml();
      this.#backend ??= new CpuBackend(ggml, this.#threads);
      graph = new SmallGraph(ggml, this.#backend, alone, make);
      const [oldest] = this.#graphs.keys();
      if (this.#graphs.size >= KEPT_GRAPHS) this.#drop(oldest);
    } else this.#graphs.delete(key);
    this.#graphs.set(key, graph);
    return graph;
  }

  #drop(key: string): void {
    this.#graphs.get(key)?.dispose();
    this.#graphs.delete(key);
  }

  /** Gives native memory back. */
  async dispose(): Promise<void> {
    const backend = this.#backend;
    for (const key of [...this.#graphs.keys()]) this.#drop(key);
    this.#backend = null;
    await backend?.dispose();
  }
}
