/**
 * @file A program: prints how far logits on a Vulkan device are from those on the CPU, where groups differ in their
 * slots and are read in parts: one number for each step of a cache.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../../src/node.ts';
import { furthest } from './furthest.ts';

const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-device-'));
const ids = Array.from({ length: 150 }, (_, i) => (i * 131) % 4000);

async function logits(device: 'cpu' | 'vulkan'): Promise<Float32Array[]> {
  await using model = await loadModel('keyhold/tiny', { device, weights: 'float32', cacheDir, engine: 'ggml' });
  const table = await model.calibrate();
  const all: Float32Array[] = [];
  for (const batch of [1, 2]) {
    const cache = model.createCache({ policy: 'routed', cacheLength: 40, batch, buffer: 'int4', table });
    const rows = (tokens: readonly number[]) => [tokens, tokens.slice(1)].slice(0, batch);
    for (const tokens of [ids.slice(0, 70), ids.slice(70), [7, 8, 9], [5, 6]])
      all.push(Float32Array.from((await model.step(cache, rows(tokens))).logits));
    const parts = [...cache.store.tables.values()].filter(({ gathers }) => gathers);
    if (parts.length === 0) throw new Error('no layer of the cache is read in parts');
  }
  return all;
}

const [device, cpu] = [await logits('vulkan'), await logits('cpu')];
process.stdout.write(JSON.stringify(device.map((own, i) => furthest(own, cpu[i]))));
await rm(cacheDir, { recursive: true });
