/**
 * @file ONNX Runtime's WebAssembly build, for browsers. The only file that imports it.
 */
import * as ort from 'onnxruntime-web/wasm';
import type { OpGraph } from '../../ops/graph.ts';
import { GraphError, InputError, KeyholdError, MemoryError } from '../../util/errors.ts';
import { byteGroups } from '../../weights/byte-groups.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { Backend, BackendOptions, CompiledGraph } from '../types.ts';
import { lowerToOnnx, type OnnxModel } from './lower/lower.ts';
import { OnnxGraph, type OnnxSession } from './onnx-session.ts';
import { onnxWebTarget } from './target.ts';

export interface OnnxWebOptions {
  /** URL of the folder with ort-wasm-simd-threaded.wasm and .mjs, with a slash at its end. */
  readonly runtimeFiles: string;
  /** Threads. More than one needs a page that is isolated (`crossOriginIsolated`). */
  readonly threads: number;
}

/** Each session has its own copy of the weights, in a heap of 4 GiB at most. */
const MAX_WEIGHT_BYTES = 1.5 * 2 ** 30;
/** ONNX Runtime was seen to stop without an answer; a session takes 2.4 s for 538 MB. */
const SILENCE_MS = 180_000;

/** ONNX Runtime in WebAssembly. Its files are fetched when the first graph is compiled. */
export function onnxWebBackend({ runtimeFiles, threads }: OnnxWebOptions): Backend {
  // Read when the first session is made, and never again.
  ort.env.wasm.wasmPaths = runtimeFiles;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  const queue = new Queue();
  return {
    name: 'onnxruntime-web',
    target: onnxWebTarget,
    codec: byteGroups,
    keptGraphs: ({ size }) => Math.max(1, Math.floor(MAX_WEIGHT_BYTES / size)),
    countNodes: (graph) => lowerToOnnx(graph).nodeCount,
    async compile(graph: OpGraph, weights: PreparedWeights, _?: BackendOptions): Promise<CompiledGraph> {
      const model = lowerToOnnx(graph);
      const session = await queue.run('making the session', weights.size, () => createSession(model, weights));
      return new OnnxGraph(wrap(session, queue), model);
    },
  };
}

async function createSession(model: OnnxModel, weights: PreparedWeights): Promise<ort.InferenceSession> {
  const { read } = weights;
  if (!read) throw new InputError('weights in a browser need a reader');
  const externalData = await Promise.all(
    [...model.weights].map(async (name) => {
      const { offset, length } = weights.params.get(name)!;
      // One file for each tensor: no array has to hold them all.
      return { path: name, data: await read(offset, length) };
    }),
  );
  const bytes = model.serialize(weights, ({ name, length }) => ({ location: name, offset: 0, length }));
  return ort.InferenceSession.create(bytes, { executionProviders: ['wasm'], externalData, logSeverityLevel: 3 });
}

function wrap(session: ort.InferenceSession, queue: Queue): OnnxSession<ort.Tensor> {
  return {
    tensor: (dtype, data, dims) => new ort.Tensor(dtype, data, dims),
    run: (feeds) => queue.run('the step', 0, () => session.run(feeds)),
    release: () => queue.run('ending the session', 0, () => session.release()),
  };
}

/** One call at a time: two sessions made at once, or a step while one is made, fail or corrupt memory. */
class Queue {
  #last: Promise<unknown> = Promise.resolve();

  /** @param bytes that the call asks for, for messages. */
  run<T>(what: string, bytes: number, call: () => Promise<T>): Promise<T> {
    const result = this.#last.then(async () => {
      try {
        return await inTime(what, call());
      } catch (cause) {
        throw readable(what, bytes, cause);
      }
    });
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** @throws GraphError where there is no answer. */
function inTime<T>(what: string, call: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    const message = `${what} in ONNX Runtime gave no answer for ${SILENCE_MS / 1000} s; load the model again`;
    timer = setTimeout(() => reject(new GraphError(message)), SILENCE_MS);
  });
  return Promise.race([call, silence]).finally(() => clearTimeout(timer));
}

/** Its words for "no memory"; a bare number is the address of a C++ exception, which is bad_alloc in all cases that were seen. */
const NO_MEMORY =
  /bad_alloc|out of memory|memory access out of bounds|array buffer allocation|invalid array length|^\d+$/i;

/** What an error of ONNX Runtime means. */
export function readable(what: string, bytes: number, cause: unknown): KeyholdError {
  if (cause instanceof KeyholdError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (NO_MEMORY.test(message)) {
    const asked = bytes > 0 ? `, which needs ${Math.ceil(bytes / 1e6)} MB for the weights twice over for a moment` : '';
    return new MemoryError(
      `there is not enough memory for ${what}${asked} (${message}); ` +
        'use a smaller model or budget, or close other tabs',
      { cause },
    );
  }
  return new GraphError(`${what} failed in ONNX Runtime: ${message}`, { cause });
}
