/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A model in a thread of its own: the program's event loop stays free while it computes.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { loadRenderer } from '../chat/renderer.ts';
import type { LoadOptions, LoadProgress } from '../load/load-model-node.ts';
import { modelOrSmall } from '../util/arguments.ts';
import { InputError, WorkerError } from '../util/errors.ts';
import { TINY_MODEL } from '../util/files/shipped-node.ts';
import { checkOptionsObject, shown } from '../util/option-names.ts';
import { exitFlags, waitForStep } from './exit-guard.ts';
import type { ModelFacts } from './protocol.ts';
import { Caller, type CallOptions } from './rpc.ts';
import type { Port, Request, Response } from './wire.ts';
import { WorkerModel } from './worker-model.ts';

/** Options of the thread, as `node:worker_threads` takes them. */
export interface ThreadOptions {
  readonly name?: string;
  readonly env?: Record<string, string | undefined>;
  readonly execArgv?: string[];
  readonly resourceLimits?: {
    readonly maxOldGenerationSizeMb?: number;
    readonly maxYoungGenerationSizeMb?: number;
    readonly codeRangeSizeMb?: number;
    readonly stackSizeMb?: number;
  };
}

/** Options of `loadModelInWorker`. */
export interface WorkerLoadOptions extends LoadOptions {
  /** Options of the thread. */
  readonly worker?: ThreadOptions;
}

/** Loads `keyhold/tiny`, the small model that ships with the package. */
export function loadModelInWorker(): Promise<WorkerModel>;
/**
 * Loads a model in a thread of its own, so that the event loop stays free while it computes.
 * @param model as for `loadModel`, but no open checkpoint.
 * Without arguments, the small model.
 * @throws what loadModel throws; WorkerError where the thread crashes.
 * @example
 * ```ts
 * import { loadModelInWorker } from 'keyhold';
 *
 * const model = await loadModelInWorker();
 * console.log(await model.generate('And it came to pass', { maxNewTokens: 20 }).text());
 * await model.dispose(); // ends the thread
 * ```
 */
export function loadModelInWorker(model: string, options?: WorkerLoadOptions): Promise<WorkerModel>;
export async function loadModelInWorker(...given: [model?: string, options?: WorkerLoadOptions]): Promise<WorkerModel> {
  const model = modelOrSmall('loadModelInWorker', given, TINY_MODEL);
  const [, options = {}] = given;
  checkOptionsObject('loadModelInWorker', options);
  const { worker: threadOptions, signal, onProgress, ...rest } = options;
  if (typeof model !== 'string')
    throw new InputError(
      `the model must be a folder, a file or a hub id (nothing else can go to another thread), but is ${shown(model)}`,
    );
  signal?.throwIfAborted();
  const file = import.meta.url.endsWith('.ts') ? 'from-sources.mjs' : 'thread-node.js';
  const flags = exitFlags();
  const thread = new Worker(threadFile(file), { ...threadOptions, workerData: flags });
  const onExit = () => waitForStep(flags);
  process.on('exit', onExit);
  const caller = new Caller(thread as Port<Request>, (busy) => (busy ? thread.ref() : thread.unref()));
  thread.on('message', (responses: readonly Response[]) => caller.receive(responses));
  thread.on('error', (cause) => {
    const message = `the thread of ${model} has crashed: ${cause instanceof Error ? cause.message : String(cause)}`;
    caller.end(new WorkerError(message, { cause }));
  });
  thread.on('exit', (code) => {
    process.off('exit', onExit);
    caller.end(new WorkerError(`the thread of ${model} has ended with code ${code}`));
  });
  try {
    const onEvent = (progress: LoadProgress) => onProgress?.(progress);
    const facts = await caller.call<ModelFacts>('load', { name: model, options: rest }, {
      signal,
      onEvent,
    } as CallOptions).done;
    const renderer = await loadRenderer(facts.templates, facts.tokenizerConfig);
    return new WorkerModel({ terminate: () => thread.terminate(), resolveModule }, caller, facts, renderer);
  } catch (error) {
    await thread.terminate();
    throw error;
  }
}

/** A bundle holds this module in a folder beside that of the threads. */
const threadFile = (name: string): URL => new URL(`../worker/${name}`, import.meta.url);

/** A URL as it is; a path from the folder of the program. */
function resolveModule(module: string | URL): string {
  return module instanceof URL || /^(file|data|node):/.test(module)
    ? String(module)
    : pathToFileURL(resolve(module)).href;
}
