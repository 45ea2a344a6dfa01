/**
 * @file ggml as a backend of models.
 */
import type { OpGraph } from '../../ops/graph.ts';
import { HALF_PARAMETERS } from '../../weights/ggml-formats.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { Backend, BackendOptions, CompiledGraph, RunOptions, StepInputs, StepOutputs } from '../types.ts';
import { openGgml } from './binding.ts';
import { CpuBackend } from './cpu-backend.ts';
import { GgmlSession } from './session.ts';
import { canAttendInSlots } from './slot-use.ts';
import { ggmlCodec, matrixFormat } from './weight-codec.ts';
import { GgmlWeights } from './weights.ts';

/** What the graphs of one model share: threads, and the weights in memory. Lives as long as any of the graphs. */
class SharedModel {
  readonly backend: CpuBackend;
  readonly weights: GgmlWeights;
  #users = 0;
  readonly #forget: () => void;

  constructor(prepared: PreparedWeights, threads: number | undefined, forget: () => void) {
    const ggml = openGgml();
    this.weights = new GgmlWeights(ggml, prepared);
    this.backend = new CpuBackend(ggml, threads);
    this.#forget = forget;
  }

  take(): this {
    this.#users++;
    return this;
  }

  async release(): Promise<void> {
    if (--this.#users > 0) return;
    this.#forget();
    await this.backend.dispose();
    this.weights.dispose();
  }
}

const models = new WeakMap<PreparedWeights, Map<number | undefined, SharedModel>>();

function modelOf(prepared: PreparedWeights, threads: number | undefined): SharedModel {
  let byThreads = models.get(prepared);
  if (!byThreads) {
    byThreads = new Map();
    models.set(prepared, byThreads);
  }
  let model = byThreads.get(threads);
  if (!model) {
    const all = byThreads;
    model = new SharedModel(prepared, threads, () => all.delete(threads));
    byThreads.set(threads, model);
  }
  return model.take();
}

class GgmlGraph implements CompiledGraph {
  readonly #session: GgmlSession;
  #model: SharedModel | null;

  constructor(session: GgmlSession, model: SharedModel) {
    this.#session = session;
    this.#model = model;
  }

  run(inputs: StepInputs, { signal }: RunOptions = {}): Promise<StepOutputs> {
    return this.#session.run(inputs, signal);
  }

  async dispose(): Promise<void> {
    const model = this.#model;
    if (!model) return;
    this.#model = null;
    await this.#session.dispose();
    await model.release();
  }
}

async function compile(
  graph: OpGraph,
  prepared: PreparedWeights,
  options: BackendOptions = {},
): Promise<CompiledGraph> {
  const model = modelOf(prepared, options.threads);
  try {
    const session = await GgmlSession.open(openGgml(), model.backend, graph, model.weights);
    return new GgmlGraph(session, model);
  } catch (error) {
    await model.release();
    throw error;
  }
}

/** ggml on the CPU. */
export const ggmlBackend: Backend = {
  name: 'ggml',
  target: {
    slotBlocks: true,
    halfParameters: HALF_PARAMETERS,
    attendsInSlots: canAttendInSlots,
    stacksHeadExperts: true,
    held: (format) => format,
    weightFormat: matrixFormat,
    expertLayout: () => 'separate',
  },
  codec: ggmlCodec,
  compile,
  countNodes: (graph) => graph.nodes.length,
};
