/**
 * @file ONNX Runtime's WebGPU builds, for browsers. Loaded when a model is to run on a GPU: their files are three times as large as
 * those of the WebAssembly build.
 */
import type * as ort from 'onnxruntime-web';
import type { OpGraph } from '../../ops/graph.ts';
import { scaledBlocks } from '../../weights/codec.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import { type Backend, type CompiledGraph, type StepInputs, type StepOutputs, tensorOf } from '../types.ts';
import { type HeldDevice, isLost, openDevice } from './gpu-device.ts';
import { lowerToOnnx, type OnnxModel } from './lower/lower.ts';
import { OnnxGraph } from './onnx-session.ts';
import { onnxGpuTarget } from './target.ts';
import { keptGraphs, Queue, sessionFiles } from './web-calls.ts';

type Ort = typeof ort;

export interface WebGpuOptions {
  /** URL of the folder with the .wasm and .mjs of a WebGPU build, with a slash at its end. */
  readonly runtimeFiles: string;
  /** Hears what ONNX Runtime says of each node, through the console. @default false */
  readonly isVerbose?: boolean;
}

/** WebAssembly that waits for a GPU: by the browser's own means (a build of 17 MB), else by code that was made for it (27 MB). */
async function importBuild(): Promise<Ort> {
  if ('Suspending' in WebAssembly) return import('onnxruntime-web/jspi');
  return import('onnxruntime-web/webgpu');
}

/** @throws GraphError where the browser has no WebGPU, or no graphics card that this page may use. */
export async function openWebGpu({ runtimeFiles, isVerbose = false }: WebGpuOptions): Promise<Backend> {
  let held = await openDevice();
  const runtime = await importBuild();
  runtime.env.wasm.wasmPaths = runtimeFiles;
  // Threads would serve operators that a GPU has not; they need a page that is isolated.
  runtime.env.wasm.numThreads = 1;
  runtime.env.logLevel = isVerbose ? 'verbose' : 'error';
  const host: GpuHost = {
    runtime,
    queue: new Queue(),
    isVerbose,
    async device() {
      if (held.lost !== null) held = await openDevice();
      return held;
    },
  };
  return {
    name: 'onnxruntime-webgpu',
    target: onnxGpuTarget,
    codec: scaledBlocks,
    keptGraphs,
    countNodes: (graph) => lowerToOnnx(graph).nodeCount,
    compile: (graph, weights) => GpuGraph.open(host, graph, weights),
  };
}

/** What all graphs share. */
interface GpuHost {
  readonly runtime: Ort;
  readonly queue: Queue;
  readonly isVerbose: boolean;
  /** Another one when the last is lost. */
  device(): Promise<HeldDevice>;
}

/** A graph on a device, and on the next one when that is lost: all that a step reads is in the memory of JavaScript. */
class GpuGraph implements CompiledGraph {
  readonly #host: GpuHost;
  readonly #model: OnnxModel;
  readonly #weights: PreparedWeights;
  #held!: HeldDevice;
  #graph!: CompiledGraph;

  private constructor(host: GpuHost, graph: OpGraph, weights: PreparedWeights) {
    this.#host = host;
    this.#model = lowerToOnnx(graph);
    this.#weights = weights;
  }

  static async open(host: GpuHost, graph: OpGraph, weights: PreparedWeights): Promise<GpuGraph> {
    const made = new GpuGraph(host, graph, weights);
    await made.#create();
    return made;
  }

  async run(inputs: StepInputs): Promise<StepOutputs> {
    // A device that was lost between two steps; its session can only be forgotten.
    if (this.#held.lost !== null) await this.#create();
    const all = filled(inputs);
    try {
      return withoutFilled(inputs, await this.#graph.run(all));
    } catch (error) {
      if (!(await isLost(this.#held))) throw error;
      await this.#create();
      return withoutFilled(inputs, await this.#graph.run(all));
    }
  }

  async dispose(): Promise<void> {
    if (this.#held.lost === null) await this.#graph.dispose();
  }

  async #create(): Promise<void> {
    const { runtime, queue, isVerbose } = this.#host;
    const held = await this.#host.device();
    this.#held = held;
    const session = await queue.run('making the session', this.#weights.size, async () => {
      const { bytes, externalData } = await sessionFiles(this.#model, this.#weights);
      const provider = { name: 'webgpu', device: held.device };
      return runtime.InferenceSession.create(bytes, {
        executionProviders: [provider],
        externalData,
        logSeverityLevel: isVerbose ? 0 : 3,
      });
    });
    this.#graph = new OnnxGraph<ort.Tensor>(
      {
        tensor: (dtype, data, dims) => new runtime.Tensor(dtype, data, dims),
        replica(slots, dims) {
          const buffer = held.replicas.update(slots);
          return buffer && runtime.Tensor.fromGpuBuffer(buffer as never, { dataType: 'float32', dims });
        },
        run: (feeds) => queue.run('the step', 0, () => session.run(feeds)),
        release: () => queue.run('ending the session', 0, () => session.release()),
      },
      this.#model,
    );
  }
}

/** What a step may be given none of: operators of a GPU want something to compute. */
const MAY_BE_EMPTY = ['logitRows', 'echo.mask'] as const;

/** Zeros in place of inputs without numbers. */
function filled(inputs: StepInputs): StepInputs {
  const empty = MAY_BE_EMPTY.filter((name) => inputs[name]?.dims.includes(0));
  if (empty.length === 0) return inputs;
  const all = { ...inputs };
  for (const name of empty) {
    const dims = inputs[name].dims.map((length) => Math.max(1, length));
    const length = dims.reduce((a, b) => a * b, 1);
    all[name] = tensorOf(name === 'logitRows' ? new BigInt64Array(length) : new Float32Array(length), dims);
  }
  return all;
}

/** Without what was computed for {@link filled} inputs. */
function withoutFilled({ logitRows }: StepInputs, outputs: StepOutputs): StepOutputs {
  if (!logitRows?.dims.includes(0)) return outputs;
  return { ...outputs, logits: { data: new Float32Array(0), dims: [0, outputs.logits.dims[1]] } };
}
