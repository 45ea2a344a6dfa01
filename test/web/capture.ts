/**
 * @file A worker that steps with the small model on WebGPU, once with steps that are recorded and once without, and
 * tells the logits of each step and how many groups of buffers it made.
 */
import { openWebGpu } from '../../src/backends/onnx/onnxruntime-webgpu.ts';
import type { AnyCacheOptions } from '../../src/kvcache/policies.ts';
import { assembleModel } from '../../src/load/load.ts';
import type { PrepareRequest } from '../../src/load/model-plan.ts';
import { openSource } from '../../src/web/source.ts';
import { prepareInMemory } from '../../src/weights/prepared/in-memory.ts';

/** What the page asks for. */
export interface CaptureJob {
  readonly model: string;
  readonly cache: Partial<AnyCacheOptions>;
  readonly chunks: readonly (readonly number[])[];
}

/** What came of it, step by step. */
export interface CapturedLogits {
  readonly logits: readonly (readonly number[])[];
  readonly groups: readonly number[];
}

interface Scope {
  postMessage(message: Readonly<Record<'recorded' | 'plain', CapturedLogits>>): void;
  onmessage: (event: MessageEvent<CaptureJob>) => void;
  readonly GPUDevice: { readonly prototype: { createBindGroup(request: unknown): unknown } };
}
const scope = globalThis as unknown as Scope;

const { createBindGroup } = scope.GPUDevice.prototype;
let made = 0;
scope.GPUDevice.prototype.createBindGroup = function (request) {
  made++;
  return createBindGroup.call(this, request);
};

scope.onmessage = async ({ data }) =>
  scope.postMessage({ recorded: await run(data, true), plain: await run(data, false) });

async function run({ model: url, cache: options, chunks }: CaptureJob, captures: boolean): Promise<CapturedLogits> {
  const backend = await openWebGpu({ runtimeFiles: '/ort/', captures });
  const checkpoint = await openSource({ kind: 'folder', url }, {});
  const prepare = (request: PrepareRequest) => prepareInMemory({ ...request, codec: backend.codec });
  const model = await assembleModel({ checkpoint, backend, prepare });
  const cache = model.createCache(options);
  const logits: number[][] = [];
  const groups: number[] = [];
  for (const chunk of chunks) {
    const before = made;
    logits.push(Array.from((await model.step(cache, [chunk])).logits));
    groups.push(made - before);
  }
  await model.dispose();
  return { logits, groups };
}
