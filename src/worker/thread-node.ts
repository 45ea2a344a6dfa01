/**
 * @file The thread of Node that a model lives in.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { type LoadOptions, loadModel } from '../load/load-model-node.ts';
import { guarded } from './exit-guard.ts';
import { ModelHost, modelMethods } from './model-host.ts';
import { answerer, type CallContext } from './rpc.ts';
import type { Port, Request, Response } from './wire.ts';

const host = new ModelHost();

const methods = {
  ...modelMethods(host),

  async load({ name, options }: { name: string; options: LoadOptions }, { signal, emit }: CallContext) {
    const model = await loadModel(name, { ...options, signal, onProgress: emit });
    const step = model.step.bind(model);
    model.step = (...args) => guarded(workerData, () => step(...args));
    return host.take(model);
  },
};

const port = parentPort!;
const answer = answerer(port as Port<readonly Response[]>, methods);
port.on('message', (request: Request) => answer(request));
