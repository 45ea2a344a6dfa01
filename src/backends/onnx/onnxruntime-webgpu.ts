/**
 * @file ONNX Runtime's WebGPU builds, for browsers. Loaded when a model is to run on a GPU: their files are three times
 * as large as those of the WebAssembly build.
 */
import type * as ort from 'onnxruntime-web';
import type { OpGraph } from '../../ops/graph.ts';
import { scaledBlocks } from '../../weights/codec.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import { type Backend, type CompiledGraph, type StepInputs, type StepOutputs, tensorOf } from '../types.ts';
import { type HeldDevice, isLost, openDevice } from './gpu-device.ts';
import { type GpuRuntime, GpuSession, type OrtSession } from './gpu-session.ts';
import type { OnnxModel } from './lower/lower-by.ts';
import { lowerInPage } from './lower/lower-in-page.ts';
import { onnxGpuTarget } from './target.ts';
import { keptGraphs, makeSession, Queue, type SessionFiles } from './web-calls.ts';
import { starting } from './web-start.ts';

type Ort = typeof ort;

export interface WebGpuOptions {
  /** URL of the folder with the .wasm and .mjs of a WebGPU build, with a slash at its end. */
  readonly runtimeFiles: string;
  /** Hears what ONNX Runtime says of each node, through the console. @default false */
  readonly isVerbose?: boolean;
  /** Whether the commands of a step are recorded, and played for further steps of the same shapes. @default true */
  readonly captures?: boolean;
}

/**
 * WebAssembly that waits for a GPU: by the browser's own means (a build of 17 MB), else by code that was made for it
 * (27 MB).
 */
async function importBuild(): Promise<{ readonly runtime: Ort; readonly name: string }> {
  const name = 'ort-wasm-simd-threaded.';
  if ('Suspending' in WebAssembly) return { runtime: await import('onnxruntime-web/jspi'), name: `${name}jspi` };
  return { runtime: await import('onnxruntime-web/webgpu'), name: `${name}asyncify` };
}

/** @throws GraphError where the browser has no WebGPU, or no graphics card that this page may use. */
export async function openWebGpu({
  runtimeFiles,
  isVerbose = false,
  captures = true,
}: WebGpuOptions): Promise<Backend> {
  let held = await openDevice();
  const { runtime, name } = await importBuild();
  runtime.env.wasm.wasmPaths = runtimeFiles;
  // Threads would serve operators that a GPU has not; they need a page that is isolated.
  runtime.env.wasm.numThreads = 1;
  runtime.env.logLevel = isVerbose ? 'verbose' : 'error';
  const host: GpuHost = {
    runtime,
    create: (bytes, options) => starting(runtimeFiles, name, () => runtime.InferenceSession.create(bytes, options)),
    queue: new Queue(),
    isVerbose,
    captures,
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
    compile: (graph, weights) => GpuGraph.open(host, graph, weights),
  };
}

/** What all graphs share. */
interface GpuHost {
  readonly runtime: Ort;
  /** @throws EngineError where ONNX Runtime's files can't be used. */
  create(bytes: Uint8Array, options: ort.InferenceSession.SessionOptions): Promise<ort.InferenceSession>;
  readonly queue: Queue;
  readonly isVerbose: boolean;
  readonly captures: boolean;
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

  private constructor(host: GpuHost, model: OnnxModel, weights: PreparedWeights) {
    this.#host = host;
    this.#model = model;
    this.#weights = weights;
  }

  static async open(host: GpuHost, graph: OpGraph, weights: PreparedWeights): Promise<GpuGraph> {
    const made = new GpuGraph(host, await lowerInPage(graph), weights);
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
    const { runtime, queue, captures } = this.#host;
    const held = await this.#host.device();
    this.#held = held;
    const make = (asksForCapture: boolean) =>
      makeSession(this.#model, this.#weights, (files) => this.#session(held, files, asksForCapture));
    const [session, isCapturing] = await queue.run('making the session', this.#weights.size, async () => {
      if (!captures) return [await make(false), false] as const;
      try {
        return [await make(true), true] as const;
      } catch (error) {
        // Some operators of a family run on the processor.
        if (!/graph capture/.test(String(error))) throw error;
        return [await make(false), false] as const;
      }
    });
    this.#graph = new GpuSession({
      // Their types name the GPU's, which lib.dom.d.ts does not know.
      ...{ runtime: runtime as unknown as GpuRuntime, session: session as unknown as OrtSession },
      ...{ model: this.#model, held, queue, captures: isCapturing },
    });
  }

  #session(held: HeldDevice, { bytes, externalData }: SessionFiles, captures: boolean): Promise<ort.InferenceSession> {
    let isRead = false;
    const options: ort.InferenceSession.SessionOptions = {
      executionProviders: [{ name: 'webgpu', device: held.device } as never],
      externalData,
      logSeverityLevel: this.#host.isVerbose ? 0 : 3,
      // ONNX Runtime's script reads it twice: first for the GPU, which may then record runs that ask for it, and then
      // for itself, which would tie the session to the buffers of its first run.
      get enableGraphCapture() {
        const value = captures && !isRead ? true : undefined;
        isRead = true;
        return value;
      },
    };
    return this.#host.create(bytes, options);
  }
}

/** What a step may be given none of: operators of a GPU want something to compute. */
const MAY_BE_EMPTY = /^(logitRows|echo\.mask|queryWeights\..*)$/;

/** Zeros in place of inputs without numbers. */
function filled(inputs: StepInputs): StepInputs {
  const empty = Object.keys(inputs).filter((name) => MAY_BE_EMPTY.test(name) && inputs[name].dims.includes(0));
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
