/**
 * @file A traced model that runs: its graphs for the lengths that steps have, the latest kept.
 */
import { withEarlyRows } from '../../../ops/early-rows.ts';
import type { OpGraph } from '../../../ops/graph.ts';
import { disposedError } from '../../../util/disposed.ts';
import type { RunOptions } from '../../types.ts';
import type { Ggml } from '../binding/ggml.ts';
import type { CpuBackend } from '../devices/cpu-backend.ts';
import type { RunInputs } from '../lower/graph-maker.ts';
import { weightUses } from '../lower/lowering.ts';
import { graphDims } from '../lower/slot-blocks.ts';
import { isPlaced, type JoinableSlots, joinableSlots, placingGraph, slotUse } from '../lower/slot-use.ts';
import type { Tensor } from '../memory/tensor.ts';
import type { GgmlWeights } from '../weights/weights.ts';
import { ConcreteGraph, type RunOutput } from './concrete-graph.ts';
import { ResultArrays } from './result-arrays.ts';

/**
 * Graphs that are kept besides the one that is made, and what the arrays of the host may be that go with them. Results
 * of operators lie in memory that all graphs share. Six are those of a prompt of 1,024 tokens and of the first tokens
 * after it; each took 1.1 MB at 135M.
 */
const MOST_GRAPHS = 6;
const MOST_BYTES = 40e6;

/** A traced step as it is computed. */
export const computedGraph = (traced: OpGraph): OpGraph => withEarlyRows(traced, 'logitRows');

export class GgmlSession {
  readonly #ggml: Ggml;
  readonly #backend: CpuBackend;
  readonly #graph: OpGraph;
  /** Without the chunk's keys and values, which are in the slots; null: they are not always. */
  readonly #placing: OpGraph | null;
  readonly #weights: ReadonlyMap<string, Tensor>;
  readonly #joinable: readonly JoinableSlots[];
  /** By lengths, the latest last. */
  readonly #compiled = new Map<string, ConcreteGraph>();
  readonly #arrays = new ResultArrays();
  /** Tensors of the graph that has most; undefined before the first. */
  #tensors: number | undefined;
  /** By the lengths of a chunk. */
  readonly #kinds = new Map<string, object>();
  #disposed = false;

  private constructor(ggml: Ggml, backend: CpuBackend, graph: OpGraph, weights: ReadonlyMap<string, Tensor>) {
    this.#ggml = ggml;
    this.#backend = backend;
    this.#graph = graph;
    // A device may write to a copy of the slots.
    this.#placing = backend.devicePointer ? null : placingGraph(graph);
    this.#weights = weights;
    this.#joinable = joinableSlots(graph);
  }

  static async open(ggml: Ggml, backend: CpuBackend, traced: OpGraph, weights: GgmlWeights): Promise<GgmlSession> {
    const graph = computedGraph(traced);
    const uses = weightUses(graph);
    const tensors = await weights.open(uses);
    return new GgmlSession(ggml, backend, graph, new Map(uses.map(({ as, name }, i) => [`${as} ${name}`, tensors[i]])));
  }

  /**
   * Computes a step.
   * @throws GraphError for inputs that do not fit the graph; the signal's reason; InputError after {@link dispose}.
   */
  run(inputs: RunInputs, { signal, placesChunk = false }: RunOptions = {}): Promise<Record<string, RunOutput>> {
    return this.#backend.exclusive(async (compute) => {
      if (this.#disposed) throw disposedError('model');
      const compiled = this.#compile(inputs, placesChunk);
      compiled.bind(inputs);
      await compute(compiled, signal);
      return compiled.read(this.#arrays);
    });
  }

  /** Takes arrays of results that nothing reads any more. */
  recycle(arrays: readonly Float32Array[]): void {
    if (!this.#disposed) this.#arrays.give(arrays);
  }

  /** Gives native memory back, after what runs. */
  dispose(): Promise<void> {
    return this.#backend.exclusive(async () => {
      this.#disposed = true;
      this.#arrays.give([]);
      for (const compiled of this.#compiled.values()) compiled.dispose();
      this.#compiled.clear();
    });
  }

  #compile(inputs: RunInputs, placesChunk: boolean): ConcreteGraph {
    const slots = slotUse(this.#joinable, inputs);
    const placed = placesChunk && isPlaced(this.#joinable, slots) ? this.#placing : null;
    const graph = placed ?? this.#graph;
    const use = [...slots].map(([name, { length, like }]) => `${name},${length},${like}`);
    const isDevice = this.#backend.devicePointer !== null;
    const lengths = this.#graph.inputs.map((value) => {
      const dims = inputs[value.name]?.dims;
      return dims ? graphDims(value, dims, isDevice) : '?';
    });
    const key = [...lengths, ...use, placed !== null].join('/');
    const known = this.#compiled.get(key);
    if (known) {
      this.#compiled.delete(key);
      this.#compiled.set(key, known);
      return known;
    }
    const weights = (name: string, as: string): Tensor => this.#weights.get(`${as} ${name}`)!;
    this.#forget();
    const source = { ggml: this.#ggml, backend: this.#backend, graph, weights, inputs, slots };
    const compiled = ConcreteGraph.make(source, this.#tensors);
    this.#tensors = Math.max(this.#tensors ?? 0, compiled.tensors);
    compiled.kind = this.#kindOf(inputs);
    this.#compiled.set(key, compiled);
    return compiled;
  }

  /** Chunks of one length take about the same time, whatever slots there are. */
  #kindOf({ ids }: RunInputs): object | undefined {
    if (!ids) return undefined;
    const key = ids.dims.join('/');
    if (!this.#kinds.has(key)) this.#kinds.set(key, { key });
    return this.#kinds.get(key);
  }

  /** Lets the oldest graphs go. */
  #forget(): void {
    let bytes = [...this.#compiled.values()].reduce((sum, compiled) => sum + compiled.ownBytes, 0);
    for (const [key, compiled] of this.#compiled) {
      if (this.#compiled.size <= MOST_GRAPHS && bytes <= MOST_BYTES) return;
      this.#compiled.delete(key);
      bytes -= compiled.ownBytes;
      compiled.dispose();
    }
  }
}
