/**
 * @file The compiled graphs of one model: each is traced and compiled when it is first asked for.
 */
import type { Backend, BackendOptions, CompiledGraph } from '../backends/types.ts';
import type { OpGraph } from '../ops/graph.ts';
import type { PreparedWeights } from '../weights/types.ts';

export class CompiledGraphs {
  readonly #backend: Backend;
  readonly #weights: PreparedWeights;
  readonly #options: BackendOptions;
  /** The oldest first. */
  readonly #graphs = new Map<string, Promise<CompiledGraph>>();

  constructor(backend: Backend, weights: PreparedWeights, options: BackendOptions) {
    this.#backend = backend;
    this.#weights = weights;
    this.#options = options;
  }

  /** The graph of a key. @param trace makes it where there is none. */
  get(key: string, trace: () => OpGraph): Promise<CompiledGraph> {
    let graph = this.#graphs.get(key);
    if (!graph) {
      graph = this.#backend.compile(trace(), this.#weights, this.#options);
      this.#graphs.set(key, graph);
    }
    return graph;
  }

  /** Disposes of the oldest graph whose key starts with `prefix`, where there are more than `most` of them. */
  dropOldest(prefix: string, most: number): void {
    const keys = [...this.#graphs.keys()].filter((key) => key.startsWith(prefix));
    if (keys.length <= most) return;
    const [oldest] = keys;
    void this.#graphs
      .get(oldest)!
      .then((graph) => graph.dispose())
      .catch(() => undefined);
    this.#graphs.delete(oldest);
  }

  /** Frees native memory. */
  async dispose(): Promise<void> {
    const graphs = [...this.#graphs.values()];
    this.#graphs.clear();
    for (const graph of graphs) await (await graph).dispose();
  }
}
