/**
 * @file The compiled graphs of one model: each is traced and compiled when it is first asked for.
 */
import type { Backend, BackendOptions, CompiledGraph } from '../backends/types.ts';
import type { OpGraph } from '../ops/graph.ts';
import { disposedError } from '../util/disposed.ts';
import type { PreparedWeights } from '../weights/types.ts';

export class CompiledGraphs {
  readonly #backend: Backend;
  readonly #weights: PreparedWeights;
  readonly #options: BackendOptions;
  /** The oldest first. */
  readonly #graphs = new Map<string, Promise<CompiledGraph>>();
  #disposed = false;

  constructor(backend: Backend, weights: PreparedWeights, options: BackendOptions) {
    this.#backend = backend;
    this.#weights = weights;
    this.#options = options;
  }

  /** @throws InputError after {@link dispose}. */
  checkUsable(): void {
    if (this.#disposed) throw disposedError('model');
  }

  /** The graph of a key. @param trace makes it where there is none. @throws InputError after {@link dispose}. */
  get(key: string, trace: () => OpGraph): Promise<CompiledGraph> {
    this.checkUsable();
    const known = this.#graphs.get(key);
    if (known) {
      // The one that was used last is dropped last.
      this.#graphs.delete(key);
      this.#graphs.set(key, known);
      return known;
    }
    const kept = this.#backend.keptGraphs?.(this.#weights);
    const dropped = kept === undefined ? null : this.dropOldest('', kept - 1);
    const traced = trace();
    const compile = () => this.#backend.compile(traced, this.#weights, this.#options);
    const graph = dropped ? dropped.then(compile) : compile();
    this.#graphs.set(key, graph);
    // A failure may have been for want of memory: the next request tries again.
    graph.catch(() => this.#graphs.delete(key));
    return graph;
  }

  /** Disposes of the oldest graph whose key starts with `prefix`, where there are more than `most` of them. */
  async dropOldest(prefix: string, most: number): Promise<void> {
    const keys = [...this.#graphs.keys()].filter((key) => key.startsWith(prefix));
    if (keys.length <= most) return;
    const [oldest] = keys;
    const graph = this.#graphs.get(oldest)!;
    this.#graphs.delete(oldest);
    await graph.then((made) => made.dispose()).catch(() => undefined);
  }

  /** Frees native memory. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    const graphs = [...this.#graphs.values()];
    this.#graphs.clear();
    for (const graph of graphs) await (await graph).dispose();
  }
}
