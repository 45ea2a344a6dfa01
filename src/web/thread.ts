/**
 * @file The worker of a browser that a model lives in.
 */
import { onnxWebBackend, type StartedBackend } from '../backends/onnx/onnxruntime-web.ts';
import type { Backend } from '../backends/types.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { assembleModel } from '../load/load.ts';
import type { PrepareRequest } from '../load/model-plan.ts';
import type { WeightChoice } from '../load/weights/weight-choice.ts';
import { prepareInMemory } from '../weights/prepared/in-memory.ts';
import type { WeightProgress } from '../weights/prepared/prepare.ts';
import type { PreparedWeights } from '../weights/types.ts';
import { ModelHost, modelMethods } from '../worker/model-host.ts';
import { answerer, type CallContext } from '../worker/rpc.ts';
import type { Port, Request, Response } from '../worker/wire.ts';
import type { HubModel, HubSource } from './hub-model.ts';
import type { FetchProgress } from './progress.ts';
import { HEARTBEAT_MS } from './silence.ts';
import type { FileSource } from './source.ts';

/** What computes: the processor, by WebAssembly, or a GPU. */
export type Device = 'wasm' | 'webgpu';

/** Options of `loadModel` as they go to the worker. */
export interface ThreadLoadOptions {
  /** Where the files of the model are. */
  readonly source: FileSource | HubSource;
  /** URL of the folder with the files of ONNX Runtime. */
  readonly runtimeFiles: string;
  readonly device: Device;
  readonly threads: number;
  readonly weights: WeightChoice;
  readonly part?: string;
  readonly generationConfig?: boolean;
}

async function openBackend({ device, runtimeFiles, threads }: ThreadLoadOptions): Promise<StartedBackend> {
  if (device === 'wasm') return onnxWebBackend({ runtimeFiles, threads });
  // Loaded when it is asked for: another script of ONNX Runtime is a part of it.
  const { openWebGpu } = await import('../backends/onnx/onnxruntime-webgpu.ts');
  return { backend: await openWebGpu({ runtimeFiles }), started: Promise.resolve() };
}

async function openModel(backend: Backend, options: ThreadLoadOptions, { signal, emit }: CallContext) {
  const { source, weights, part, generationConfig } = options;
  const { codec } = backend;
  const fetching = { signal, onProgress: (progress: FetchProgress) => emit({ stage: 'download', ...progress }) };
  const preparing = { codec, signal };
  const assemble = (checkpoint: Checkpoint, prepare: (request: PrepareRequest) => Promise<PreparedWeights>) =>
    assembleModel({ checkpoint, backend, weights, part, generationConfig, prepare, requestModules: 'with-requests' });
  if (source.kind === 'hub') {
    // Loaded when it is needed, as a part of what a page loads.
    const { withHubModel } = await import('./hub-model.ts');
    const open = ({ checkpoint, prepare }: HubModel) => assemble(checkpoint, (asked) => prepare(asked, preparing));
    return withHubModel(source, fetching, open);
  }
  const { openSource } = await import('./source.ts');
  const checkpoint = await openSource(source, fetching);
  return assemble(checkpoint, (request) =>
    prepareInMemory({
      ...{ ...request, ...preparing },
      onProgress: (progress: WeightProgress) => emit({ stage: 'weights', ...progress }),
    }),
  );
}

const host = new ModelHost();

const methods = {
  ...modelMethods(host),

  async load(options: ThreadLoadOptions, context: CallContext) {
    const { backend, started } = await openBackend(options);
    // Without an engine there is no use in a download that goes on.
    const [model] = await Promise.all([openModel(backend, options, context), started]);
    return host.take(model);
  },
};

const scope = globalThis as unknown as Port<readonly Response[]> & {
  onmessage: ((event: MessageEvent<Request>) => void) | null;
};
const port: Port<readonly Response[]> = { postMessage: (message, transfer) => scope.postMessage(message, transfer) };
const answer = answerer(port, methods);
scope.onmessage = ({ data }) => answer(data);
// An empty list of responses says that the worker is alive.
setInterval(() => scope.postMessage([]), HEARTBEAT_MS);
