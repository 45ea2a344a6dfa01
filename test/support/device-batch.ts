/**
 * @file A program: the error of logits on a Vulkan device, and on the CPU, for weights in blocks. Prints one number for
 * each of five steps of a batch, relative to the logits of float32 weights.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../../src/node.ts';
import type { WeightFormat } from '../../src/weights/types.ts';

const [, , format] = process.argv;
const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-device-'));
const ids = Array.from({ length: 40 }, (_, i) => (i * 131) % 4000);

async function logits(device: 'cpu' | 'vulkan', weights: WeightFormat): Promise<Float32Array[]> {
  await using model = await loadModel('keyhold/tiny', { device, weights, cacheDir, engine: 'ggml' });
  const cache = model.createCache({ policy: 'lastrec', cacheLength: 24, batch: 2 });
  const steps = [[ids, ids.slice(5, 30)], ...[0, 1, 2, 3].map((i) => [[7 + i], [9 + i]])];
  const all: Float32Array[] = [];
  for (const tokens of steps) all.push(Float32Array.from((await model.step(cache, tokens)).logits));
  return all;
}

const exact = await logits('cpu', 'float32');
const errors = (found: readonly Float32Array[]): number[] =>
  found.map((values, step) => {
    let [error, size] = [0, 0];
    values.forEach((value, i) => {
      error += (value - exact[step][i]) ** 2;
      size += exact[step][i] ** 2;
    });
    return Math.sqrt(error / size);
  });
const [device, cpu] = [await logits('vulkan', format as 'q4_0'), await logits('cpu', format as 'q4_0')];
process.stdout.write(JSON.stringify({ device: errors(device), cpu: errors(cpu) }));
await rm(cacheDir, { recursive: true });
