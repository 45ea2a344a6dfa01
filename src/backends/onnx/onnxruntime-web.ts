/**
 * @file ONNX Runtime's WebAssembly build, for browsers. The only file that imports it.
 */
import * as ort from 'onnxruntime-web/wasm';
import type { OpGraph } from '../../ops/graph.ts';
import { byteRows } from '../../weights/formats/byte-rows.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { Backend, BackendOptions, CompiledGraph } from '../types.ts';
import { lowerInPage } from './lower/lower-in-page.ts';
import { OnnxGraph, type OnnxSession } from './onnx-session.ts';
import { onnxWebTarget } from './target.ts';
import { keptGraphs, makeSession, Queue, type SessionFiles } from './web-calls.ts';
import { startGraph, starting } from './web-start.ts';

const BUILD = 'ort-wasm-simd-threaded';

export interface OnnxWebOptions {
  /** URL of the folder with ort-wasm-simd-threaded.wasm and .mjs, with a slash at its end. */
  readonly runtimeFiles: string;
  /** Threads. More than one needs a page that is isolated (`crossOriginIsolated`). */
  readonly threads: number;
}

/** An engine, and when it has been started. */
export interface StartedBackend {
  readonly backend: Backend;
  /** @throws EngineError where its files can't be used. */
  readonly started: Promise<void>;
}

/** ONNX Runtime in WebAssembly. Its files are fetched at once. */
export function onnxWebBackend({ runtimeFiles, threads }: OnnxWebOptions): StartedBackend {
  // Read when the first session is made, and never again.
  ort.env.wasm.wasmPaths = runtimeFiles;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  const queue = new Queue();
  const started = queue.run('starting', 0, () =>
    starting(runtimeFiles, BUILD, async () => {
      const session = await create({ bytes: startGraph(), externalData: [] });
      await session.release();
    }),
  );
  const backend: Backend = {
    name: 'onnxruntime-web',
    target: onnxWebTarget,
    codec: byteRows,
    keptGraphs,
    async compile(graph: OpGraph, weights: PreparedWeights, _?: BackendOptions): Promise<CompiledGraph> {
      const model = await lowerInPage(graph);
      const session = await queue.run('making the session', weights.size, () => makeSession(model, weights, create));
      return new OnnxGraph(wrap(session, queue), model);
    },
  };
  return { backend, started };
}

const create = ({ bytes, externalData }: SessionFiles): Promise<ort.InferenceSession> =>
  ort.InferenceSession.create(bytes, { executionProviders: ['wasm'], externalData, logSeverityLevel: 3 });

function wrap(session: ort.InferenceSession, queue: Queue): OnnxSession<ort.Tensor> {
  return {
    tensor: (dtype, data, dims) => new ort.Tensor(dtype, data, dims),
    run: (feeds) => queue.run('the step', 0, () => session.run(feeds)),
    release: () => queue.run('ending the session', 0, () => session.release()),
  };
}
