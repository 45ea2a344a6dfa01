/**
 * @file Quadratic forms of keys, for policies of caches: a graph of six operators that runs at once, apart from the
 * graphs of steps.
 */
import type { KeyForms } from '../../../kvcache/shape.ts';
import { openGgml } from '../binding/binding.ts';
import type { Ggml } from '../binding/ggml.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { binary, unary } from '../lower/elementwise.ts';
import { GraphMaker } from '../lower/graph-maker.ts';
import type { Tensor } from '../memory/tensor.ts';

/** Tensors of the graph, its inputs included. */
const TENSORS = 16;

/** The graph for so many keys and matrices of one size. */
class FormsGraph {
  readonly key: string;
  readonly #ggml: Ggml;
  readonly #backend: CpuBackend;
  readonly #maker: GraphMaker;
  readonly #inputs: readonly Float32Array[];
  readonly #result: Tensor;
  readonly #out: Float32Array;
  readonly #prepare: () => void;

  /** @param n keys. @param M matrices. @param D numbers of a key. */
  constructor(ggml: Ggml, backend: CpuBackend, key: string, [n, M, D]: readonly [number, number, number]) {
    const maker = new GraphMaker(ggml, TENSORS);
    const input = (...dims: number[]) => maker.over(new Float32Array(dims.reduce((a, b) => a * b)), dims);
    const [keys, matrices, vectors] = [input(n, D), input(M * D, D), input(M, D)];
    const turned = maker.reshape(maker.multiply(matrices, keys), [n, M, D]);
    const squares = maker.sumLast(binary(maker, 'mul', turned, maker.reshape(keys, [n, 1, D])));
    const forms = unary(maker, 'relu', maker.reshape(squares, [n, M]));
    this.#result = binary(maker, 'add', forms, maker.multiply(vectors, keys));
    ggml.ggml_set_output(this.#result.pointer);
    ggml.ggml_build_forward_expand(maker.graph, this.#result.pointer);
    this.#prepare = backend.graphMemory.allocate(maker.graph, maker.context).prepare;
    this.#inputs = maker.kept as Float32Array[];
    this.#out = new Float32Array(n * M);
    this.key = key;
    this.#ggml = ggml;
    this.#backend = backend;
    this.#maker = maker;
  }

  run(...inputs: readonly (Float32Array | Float64Array)[]): Float32Array {
    for (const [i, own] of this.#inputs.entries()) own.set(inputs[i].subarray(0, own.length));
    this.#prepare();
    this.#backend.computeNow(this.#maker);
    this.#ggml.ggml_backend_tensor_get(this.#result.pointer, this.#out, 0, this.#out.byteLength);
    return this.#out;
  }

  dispose(): void {
    this.#maker.context.dispose();
  }
}

/** The forms of one model's keys. What they take is made when they are first asked for. */
export class GgmlKeyForms {
  readonly #threads: number | undefined;
  /** Of its own, as a step may run on the model's meanwhile. */
  #backend: CpuBackend | null = null;
  /** Of the last call: all groups of most caches have the same lengths. */
  #graph: FormsGraph | null = null;

  /** @param threads @default all cores that the process may use */
  constructor(threads?: number) {
    this.#threads = threads;
  }

  readonly compute: KeyForms = (keys, count, size, matrices, vectors) => {
    const lengths = [count, vectors.length / size, size] as const;
    const key = lengths.join('/');
    if (this.#graph?.key !== key) {
      this.#graph?.dispose();
      const ggml = openGgml();
      this.#backend ??= new CpuBackend(ggml, this.#threads);
      this.#graph = new FormsGraph(ggml, this.#backend, key, lengths);
    }
    return this.#graph.run(keys, matrices, vectors);
  };

  /** Gives native memory back. */
  async dispose(): Promise<void> {
    const backend = this.#backend;
    this.#graph?.dispose();
    this.#graph = null;
    this.#backend = null;
    await backend?.dispose();
  }
}
