/**
 * @file Runs graphs on the CPU, or on a device with the CPU for the rest: threads, aborts, one graph at a time.
 */
import { setImmediate } from 'node:timers/promises';
import { EngineError, GraphError } from '../../../util/errors.ts';
import { usableCores } from '../../../util/machine-node.ts';
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { NativeHandle } from '../binding/native.ts';
import { SharedGraphMemory } from '../memory/graph-memory.ts';
import { TensorContext } from '../memory/tensor-context.ts';
import { ThreadCount } from './thread-count.ts';

const STATUS = { allocFailed: -2, failed: -1, success: 0, aborted: 1 } as const;

/** `struct ggml_threadpool_params`: cpumask[512], n_threads, prio, poll, strict_cpu, paused. */
const POOL = { size: 512 + 16, threads: 512, priority: 516, poll: 520 } as const;
/**
 * How long the pool's threads wait for the next graph awake, of 100: about 2 ms. That covers the host's work between
 * two steps; without it each step begins with waking threads, with more an idle model would keep a core busy.
 */
const POLL = 1;

/**
 * A graph that took no longer than this the last time, in milliseconds, runs on the calling thread, and the event loop
 * gets a turn from time to time ({@link TURN}). Another thread would be woken on a core that ggml's own threads wait
 * on: a token of a 135M model took 8 to 9.5 ms so, and 6 without.
 */
const SHORT = 50;

/**
 * Milliseconds after which the event loop gets a turn between two short graphs. A turn after each took 0.1 ms of 5.7.
 */
const TURN = 16;

/** What runs, and how long it took the last time: see {@link SHORT}. */
export interface ComputeGraph {
  readonly graph: Pointer;
  /** What shares it between a device and the CPU. @default null: all of it runs on the CPU */
  readonly scheduler?: Pointer;
  /** The same for graphs that take about the same time. @default the graph */
  readonly kind?: unknown;
  /** Milliseconds. @default Infinity */
  lastTook?: number;
}

/** Runs a graph; the signal stops it between two of its operators, where it runs on another thread. */
type Run = (work: ComputeGraph, signal?: AbortSignal) => Promise<void>;

export class CpuBackend {
  readonly pointer: Pointer;
  /** The backend of the device; null: none. */
  readonly devicePointer: Pointer;
  readonly #ggml: Ggml;
  readonly #threads: ThreadCount;
  /**
   * Its flag `no_alloc` says whether the graph that runs is to stop: ggml's own reader of the flag serves as the abort
   * callback.
   */
  readonly #flag: TensorContext;
  /** For the results of operators, where no device computes. */
  readonly graphMemory: SharedGraphMemory;
  readonly #handle: NativeHandle;
  #last: Promise<unknown> = Promise.resolve();
  /** When the event loop last had a turn, as far as is known here. */
  #turnAt = 0;
  #disposed = false;

  /**
   * @param threads @default all cores that the process may use
   * @param device computes what it can of each graph. @default null: the CPU computes all
   */
  constructor(ggml: Ggml, threads = usableCores(), device: Pointer = null) {
    this.#ggml = ggml;
    this.devicePointer = device && ggml.ggml_backend_dev_init(device, '');
    if (device && !this.devicePointer)
      throw new EngineError(`the device ${ggml.ggml_backend_dev_name(device)} can't be used: ggml could not open it`);
    const pointer = ggml.ggml_backend_dev_init(ggml.cpu, '');
    if (!pointer) throw new EngineError('ggml could not make a CPU backend');
    this.pointer = pointer;
    this.#flag = new TensorContext(ggml, 1);
    ggml.ggml_set_no_alloc(this.#flag.pointer, false);
    ggml.ggml_backend_set_abort_callback(pointer, ggml.symbol('ggml_get_no_alloc'), this.#flag.pointer);
    const pool = threads > 1 ? makePool(ggml, threads) : null;
    if (pool) ggml.ggml_backend_cpu_set_threadpool(pointer, pool);
    ggml.ggml_backend_set_n_threads(pointer, threads);
    this.#threads = new ThreadCount(threads);
    this.graphMemory = new SharedGraphMemory(ggml, pointer);
    const { devicePointer } = this;
    this.#handle = new NativeHandle('backend', () => {
      ggml.ggml_backend_free(pointer);
      if (devicePointer) ggml.ggml_backend_free(devicePointer);
      if (pool) ggml.ggml_threadpool_free(pool);
    });
  }

  /** Runs a graph after what was asked for before it. See {@link exclusive}. */
  compute(work: ComputeGraph, signal?: AbortSignal): Promise<void> {
    return this.exclusive((run) => run(work, signal));
  }

  /**
   * Does `work` when all that was asked for before it is done. Nothing else uses the backend meanwhile.
   * @param work gets a function that runs a graph, and throws the signal's reason, and GraphError or EngineError where
   * ggml fails.
   */
  exclusive<T>(work: (run: Run) => Promise<T>): Promise<T> {
    const done = this.#last.then(() => work((graph, signal) => this.#run(graph, signal)));
    this.#last = done.catch(() => undefined);
    return done;
  }

  /**
   * Runs a short graph at once, on the calling thread, where nothing else uses the backend.
   * @param alone no other thread helps: to wake it and to measure it takes longer than some graphs.
   * @throws GraphError or EngineError where ggml fails.
   */
  computeNow(work: ComputeGraph, alone = false): void {
    if (alone) {
      this.#ggml.ggml_backend_set_n_threads(this.pointer, 1);
      check(this.#runHere(work));
      return;
    }
    this.#setThreads(work);
    const status = this.#runHere(work);
    this.#threads.done();
    check(status);
  }

  /** Waits for what runs, and gives native memory back. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#ggml.ggml_set_no_alloc(this.#flag.pointer, true);
    await this.#last;
    this.graphMemory.dispose();
    this.#handle.dispose();
    this.#flag.dispose();
  }

  #setThreads({ kind, graph }: ComputeGraph): void {
    this.#ggml.ggml_backend_set_n_threads(this.pointer, this.#threads.next(kind ?? graph));
  }

  #runHere({ graph, scheduler }: ComputeGraph): number {
    return scheduler
      ? this.#ggml.ggml_backend_sched_graph_compute(scheduler, graph)
      : this.#ggml.ggml_backend_graph_compute(this.pointer, graph);
  }

  #runApart({ graph, scheduler }: ComputeGraph): Promise<number> {
    return scheduler ? this.#ggml.computeScheduled(scheduler, graph) : this.#ggml.compute(this.pointer, graph);
  }

  async #run(work: ComputeGraph, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#disposed) throw new GraphError('the model was disposed of while a step waited for its turn');
    const ggml = this.#ggml;
    const stop = (): void => ggml.ggml_set_no_alloc(this.#flag.pointer, true);
    signal?.addEventListener('abort', stop, { once: true });
    try {
      this.#setThreads(work);
      const isShort = (work.lastTook ?? Infinity) <= SHORT;
      const start = performance.now();
      const status = isShort ? this.#runHere(work) : await this.#runApart(work);
      const end = performance.now();
      this.#threads.done();
      if (isShort && end - this.#turnAt >= TURN) await setImmediate();
      if (!isShort || end - this.#turnAt >= TURN) this.#turnAt = performance.now();
      if (status === STATUS.aborted) signal?.throwIfAborted();
      check(status);
      work.lastTook = end - start;
    } finally {
      signal?.removeEventListener('abort', stop);
      if (!this.#disposed) ggml.ggml_set_no_alloc(this.#flag.pointer, false);
    }
  }
}

/** @throws GraphError or EngineError for what is no success. */
function check(status: number): void {
  if (status === STATUS.success) return;
  if (status === STATUS.aborted) throw new GraphError('the step was stopped: the model was disposed of');
  if (status === STATUS.allocFailed) throw new EngineError('there is no memory for the work of this step');
  throw new GraphError(`ggml could not run the step (status ${status})`);
}

function makePool(ggml: Ggml, threads: number): Pointer {
  const params = new Uint8Array(new ArrayBuffer(POOL.size));
  const fields = new DataView(params.buffer);
  fields.setInt32(POOL.threads, threads, true);
  fields.setUint32(POOL.poll, POLL, true);
  const pool = ggml.ggml_threadpool_new(params);
  if (!pool) throw new EngineError(`the system gave no ${threads} threads: set the option "threads" to fewer`);
  return pool;
}
