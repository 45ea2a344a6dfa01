/**
 * @file A worker that steps with the small model on WebGPU under each policy that it is told, and lets ONNX Runtime say
 * in the console where each node runs.
 */
import { openWebGpu } from '../../src/backends/onnx/onnxruntime-webgpu.ts';
import { assembleModel } from '../../src/load/load.ts';
import type { PrepareRequest } from '../../src/load/model-plan.ts';
import { openSource } from '../../src/web/source.ts';
import { prepareInMemory } from '../../src/weights/prepared/in-memory.ts';

const worker = globalThis as unknown as {
  postMessage(message: unknown): void;
  onmessage: (event: MessageEvent) => void;
};

worker.onmessage = async ({ data }: MessageEvent<{ model: string; policies: readonly string[] }>) => {
  const backend = await openWebGpu({ runtimeFiles: '/ort/', isVerbose: true });
  const checkpoint = await openSource({ kind: 'folder', url: data.model }, {});
  const prepare = (request: PrepareRequest) => prepareInMemory({ ...request, codec: backend.codec });
  const model = await assembleModel({ checkpoint, backend, prepare });
  for (const policy of data.policies) {
    console.log(`policy ${policy}`);
    const cache = model.createCache({ policy, cacheLength: 8 });
    for (const tokens of [[1, 2, 3], [4]]) await model.step(cache, [tokens]);
  }
  await model.dispose();
  worker.postMessage('done');
};
