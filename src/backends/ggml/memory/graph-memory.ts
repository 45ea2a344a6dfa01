/**
 * @file Memory for the results of a graph's operators: on the CPU, or on a device and the CPU.
 */
import { EngineError } from '../../../util/errors.ts';
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { returnMemory } from '../binding/libc.ts';
import { NativeHandle } from '../binding/native.ts';
import type { TensorContext } from './tensor-context.ts';

/** `struct ggml_cgraph` begins with three ints: size, nodes, leaves. */
const LEAVES = 8;

/** A graph's memory. */
export interface GraphMemory {
  /** What shares the graph between a device and the CPU; null: it runs on the CPU. */
  readonly scheduler: Pointer;
  /** What the results of the graph's operators take. */
  readonly bytes: number;
  /** What of it no other graph uses. */
  readonly ownBytes: number;
  /**
   * Before each run: the memory that graphs share may have moved.
   * @throws EngineError where there is not as much memory.
   */
  prepare(): void;
  dispose(): void;
}

/** What a graph is computed with. */
interface GraphBackend {
  readonly pointer: Pointer;
  readonly devicePointer: Pointer;
  readonly graphMemory: SharedGraphMemory;
}

/** @param context that the graph was made in. @throws EngineError where there is not as much memory. */
export function allocateGraph(ggml: Ggml, backend: GraphBackend, graph: Pointer, context: TensorContext): GraphMemory {
  const { pointer, devicePointer, graphMemory } = backend;
  return devicePointer ? share(ggml, [devicePointer, pointer], graph) : graphMemory.allocate(graph, context);
}

/**
 * Memory above this is given back when graphs need less than half of it for some steps. A new page is cleared: 0.7 ms a
 * megabyte.
 */
const KEPT_BYTES = 40e6;
const SMALL_RUNS = 8;
/** Freed memory of this size is given back to the system. */
const LARGE_BYTES = 8e6;

/** Memory of some size, and what plans a graph in it. */
interface Block {
  readonly allocator: Pointer;
  readonly handle: NativeHandle;
  readonly size: number;
}

/**
 * Memory that the graphs of a backend use in turns: one runs at a time, its results are read before the next one runs,
 * and what the host gives lies in arrays of its own.
 */
export class SharedGraphMemory {
  readonly #ggml: Ggml;
  readonly #type: Pointer;
  #block: Block | null = null;
  #smallRuns = 0;

  constructor(ggml: Ggml, backend: Pointer) {
    this.#ggml = ggml;
    this.#type = ggml.ggml_backend_get_default_buffer_type(backend);
  }

  /** What it is now. */
  get bytes(): number {
    return this.#block?.size ?? 0;
  }

  /** Gives the results of a graph addresses. */
  allocate(graph: Pointer, context: TensorContext): GraphMemory {
    const bytes = this.#sizeOf(graph);
    const count = this.#ggml.ggml_graph_n_nodes(graph);
    const nodes = Array.from({ length: count }, (_, i) => this.#ggml.ggml_graph_node(graph, i));
    const results = nodes.filter((node) => context.buffer(node) === null);
    let block = this.#put(graph, bytes);
    return {
      scheduler: null,
      bytes,
      ownBytes: 0,
      prepare: () => {
        this.#noteRun(bytes);
        if (this.#block === block) return;
        for (const node of results) {
          context.setBuffer(node, null);
          context.setData(node, 0n);
        }
        block = this.#put(graph, bytes);
      },
      dispose: () => undefined,
    };
  }

  /** Gives the memory back. */
  dispose(): void {
    if (!this.#block) return;
    const { handle, size } = this.#block;
    handle.dispose();
    this.#block = null;
    this.#smallRuns = 0;
    if (size >= LARGE_BYTES) returnMemory(this.#ggml);
  }

  #put(graph: Pointer, bytes: number): Block {
    const ggml = this.#ggml;
    if (!this.#block || this.#block.size < bytes) {
      // First, so that the new memory can be that of the old.
      this.dispose();
      const allocator = ggml.ggml_gallocr_new(this.#type);
      const handle = new NativeHandle('graph', () => ggml.ggml_gallocr_free(allocator));
      this.#block = { allocator, handle, size: bytes };
    }
    const { allocator } = this.#block;
    // The plan of another graph would do for ggml_gallocr_alloc_graph, if it has as many operators.
    if (!ggml.ggml_gallocr_reserve(allocator, graph) || !ggml.ggml_gallocr_alloc_graph(allocator, graph)) {
      this.dispose();
      refuse();
    }
    return this.#block;
  }

  /** Large memory that was for a prompt is given back a few steps after it. */
  #noteRun(bytes: number): void {
    const size = this.#block?.size ?? 0;
    this.#smallRuns = size > KEPT_BYTES && bytes < size / 2 ? this.#smallRuns + 1 : 0;
    if (this.#smallRuns >= SMALL_RUNS) this.dispose();
  }

  #sizeOf(graph: Pointer): number {
    const allocator = this.#ggml.ggml_gallocr_new(this.#type);
    const sizes = new BigUint64Array(1);
    this.#ggml.ggml_gallocr_reserve_n_size(allocator, graph, null, null, sizes);
    this.#ggml.ggml_gallocr_free(allocator);
    return Number(sizes[0]);
  }
}

/** Each operator goes to the device if it computes it, otherwise to the CPU, which is the last of `backends`. */
function share(ggml: Ggml, backends: readonly Pointer[], graph: Pointer): GraphMemory {
  const list = new BigUint64Array(backends.map((backend) => BigInt(backend!)));
  const size = ggml.ggml_graph_n_nodes(graph) + (ggml.koffi.decode(graph, LEAVES, 'int') as number);
  const scheduler = ggml.ggml_backend_sched_new(list, null, backends.length, size, false, false);
  const handle = new NativeHandle('graph', () => ggml.ggml_backend_sched_free(scheduler));
  if (!ggml.ggml_backend_sched_alloc_graph(scheduler, graph)) {
    handle.dispose();
    refuse();
  }
  const bytes = backends.reduce((sum, backend) => sum + ggml.ggml_backend_sched_get_buffer_size(scheduler, backend), 0);
  return { scheduler, bytes, ownBytes: bytes, prepare: () => undefined, dispose: () => handle.dispose() };
}

function refuse(): never {
  throw new EngineError('there is no memory for the work of this step: shorten the chunk, or the cache');
}
