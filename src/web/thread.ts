/**
 * @file The worker of a browser that a model lives in.
 */
import { onnxWebBackend } from '../backends/onnx/onnxruntime-web.ts';
import { assembleModel } from '../load/load.ts';
import type { WeightChoice } from '../load/weight-choice.ts';
import { prepareInMemory } from '../weights/in-memory.ts';
import { ModelHost, modelMethods } from '../worker/model-host.ts';
import { answerer, type CallContext } from '../worker/rpc.ts';
import type { Port, Request, Response } from '../worker/wire.ts';
import { HEARTBEAT_MS } from './silence.ts';
import { openSource, type WorkerSource } from './source.ts';

/** Options of `loadModel` as they go to the worker. */
export interface ThreadLoadOptions {
  readonly source: WorkerSource;
  readonly runtimeFiles: string;
  readonly threads: number;
  readonly weights: WeightChoice;
  readonly part?: string;
  readonly generationConfig?: boolean;
}

const host = new ModelHost();

const methods = {
  ...modelMethods(host),

  async load(options: ThreadLoadOptions, { signal, emit }: CallContext) {
    const { source, runtimeFiles, threads, weights, part, generationConfig } = options;
    const checkpoint = await openSource(source, {
      signal,
      onProgress: (progress) => emit({ stage: 'download', ...progress }),
    });
    const backend = onnxWebBackend({ runtimeFiles, threads });
    const model = await assembleModel({
      checkpoint,
      backend,
      weights,
      part,
      generationConfig,
      prepare: ({ specs, source: rows }) =>
        prepareInMemory({
          specs,
          source: rows,
          codec: backend.codec,
          signal,
          onProgress: (progress) => emit({ stage: 'weights', ...progress }),
        }),
    });
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
