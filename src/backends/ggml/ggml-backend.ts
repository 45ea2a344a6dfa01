/**
 * @file ggml as a backend of models.
 */
import { blockCodec } from '../../kvcache/buffers/blocks.ts';
import type { OpGraph } from '../../ops/graph.ts';
import { HALF_PARAMETERS } from '../../weights/formats/ggml-formats.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { Backend, BackendOptions, CompiledGraph, RunOptions, StepInputs, StepOutputs } from '../types.ts';
import { beginGgml, openGgml } from './binding/binding.ts';
import type { Pointer } from './binding/functions.ts';
import { CpuBackend } from './devices/cpu-backend.ts';
import { type DeviceName, openDevice } from './devices/devices.ts';
import { GgmlKeyMath } from './graph/key-math.ts';
import { GgmlSession } from './graph/session.ts';
import { canAttendInSlots } from './lower/slot-use.ts';
import { ggmlCodec, matrixFormat, plainCodec } from './weights/weight-codec.ts';
import { GgmlWeights } from './weights/weights.ts';

/**
 * Chunks of 512 read a prompt of a 135M shape in 0.94 of the time of chunks of 256 (AMX; 9 heads of 512 tokens are whole
 * tiles of the fused attention). llama.cpp reads as many at once.
 */
const CHUNK_LENGTH = 512;

/** What the graphs of one model share: threads, and the weights in memory. Lives as long as any of the graphs. */
class SharedModel {
  readonly backend: CpuBackend;
  readonly weights: GgmlWeights;
  #users = 0;
  readonly #forget: () => void;

  constructor(prepared: PreparedWeights, threads: number | undefined, device: Pointer, forget: () => void) {
    const ggml = openGgml();
    this.weights = new GgmlWeights(ggml, prepared, device);
    this.backend = new CpuBackend(ggml, threads, device);
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

const models = new WeakMap<PreparedWeights, Map<string, SharedModel>>();

function modelOf(prepared: PreparedWeights, threads: number | undefined, device: Pointer): SharedModel {
  const all = models.get(prepared) ?? new Map<string, SharedModel>();
  models.set(prepared, all);
  const key = `${threads ?? ''} ${device ?? ''}`;
  let model = all.get(key);
  if (!model) {
    model = new SharedModel(prepared, threads, device, () => all.delete(key));
    all.set(key, model);
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

  run(inputs: StepInputs, options: RunOptions = {}): Promise<StepOutputs> {
    return this.#session.run(inputs, options);
  }

  recycle(arrays: readonly Float32Array[]): void {
    this.#session.recycle(arrays);
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
  { threads }: BackendOptions,
  device: Pointer,
): Promise<CompiledGraph> {
  const model = modelOf(prepared, threads, device);
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
    slotBlocks: blockCodec,
    halfParameters: HALF_PARAMETERS,
    attendsInSlots: canAttendInSlots,
    chunkLength: CHUNK_LENGTH,
    stacksHeadExperts: true,
    held: (format) => format,
    weightFormat: matrixFormat,
    expertLayout: () => 'separate',
  },
  codec: ggmlCodec,
  compile: (graph, prepared, options = {}) => compile(graph, prepared, options, null),
  keyMath: ({ threads }) => new GgmlKeyMath(threads),
};

/**
 * ggml on a device, with the CPU for what the device does not compute.
 * @throws EngineError where there is no such device, or a package is not installed.
 */
export function ggmlBackendOn(name: DeviceName): Backend {
  if (name === 'cpu') {
    // Other work comes before it is used.
    beginGgml();
    return ggmlBackend;
  }
  const { pointer } = openDevice(openGgml(), name);
  return {
    ...ggmlBackend,
    codec: plainCodec,
    compile: (graph, prepared, options = {}) => compile(graph, prepared, options, pointer),
  };
}
