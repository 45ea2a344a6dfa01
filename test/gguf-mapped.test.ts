/**
 * Matrices that are kept as a GGUF file has them are read from the file itself.
 */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readGgufHeader } from '../src/checkpoint/gguf/header.ts';
import { openCheckpoint, writeGguf } from '../src/exports/checkpoint-node.ts';
import { GraphError, loadModel } from '../src/node.ts';
import { largestError } from './parity/case.ts';
import { requantizedGguf } from './support/requantized-gguf.ts';
import { tempFolder } from './support/temp-folder.ts';

const folder = await tempFolder('gguf-mapped');
const PROMPT = [11, 200, 3000, 7, 42];

async function written(weights: 'f32' | 'q8_0', name: string = weights): Promise<string> {
  const path = join(folder, `${name}.gguf`);
  const checkpoint = await openCheckpoint('keyhold/tiny');
  await writeGguf(checkpoint, path, { weights });
  await checkpoint.close();
  return path;
}

/** Logits, and bytes that were prepared for them. */
async function run(path: string, weights: 'float32' | 'q8_0', name: string) {
  const cacheDir = join(folder, name);
  await using model = await loadModel(path, { weights, engine: 'ggml', cacheDir });
  const logits = Float32Array.from(await model.prefill(model.createCache(), PROMPT));
  const [entry] = await readdir(join(cacheDir, 'weights'));
  return { logits, prepared: (await stat(join(cacheDir, 'weights', entry, 'weights.bin'))).size };
}

describe('a GGUF file is mapped', () => {
  it.each([
    ['f32', 'float32', 1e-4],
    ['q8_0', 'q8_0', 0.3],
  ] as const)('of %s', async (stored, weights, most) => {
    const path = await written(stored);
    const { logits, prepared } = await run(path, weights, stored);
    // Queries and keys have another order of rows, so they and the values are copied, with the norms.
    expect(prepared).toBeLessThan(0.2 * (await stat(path)).size);
    await using model = await loadModel('keyhold/tiny', { weights: 'float32', engine: 'onnx', cacheDir: folder });
    expect(largestError(logits, await model.prefill(model.createCache(), PROMPT))).toBeLessThan(most);
  });

  it('also where values have other blocks than queries and keys', async () => {
    const mixed = join(folder, 'mixed.gguf');
    const formatOf = (name: string) =>
      /attn_v|ffn_gate/.test(name) ? 'q8_0' : /attn_[qk]|ffn_up/.test(name) ? 'q5_0' : null;
    await requantizedGguf(await written('f32', 'of-mixed'), mixed, formatOf);
    const { logits } = await run(mixed, 'q8_0', 'mixed');
    await using exact = await loadModel(mixed, { weights: 'float32', engine: 'onnx', cacheDir: folder });
    expect(largestError(logits, await exact.prefill(exact.createCache(), PROMPT))).toBeLessThan(0.3);
    const [entry] = await readdir(join(folder, 'mixed', 'weights'));
    const manifest = await readFile(join(folder, 'mixed', 'weights', entry, 'manifest.json'), 'utf8');
    expect(manifest).toMatch(/attn\.qkv\.weight#0 q8_0/);
    // Values and gates are in the file as they are wanted.
    expect(manifest).not.toMatch(/qkv\.weight#1|fc_12\.weight#0/);
  });

  it('and numbers in it that are none end in a typed error', async () => {
    const path = await written('q8_0', 'whole');
    const bytes = await readFile(path);
    const header = await readGgufHeader({
      name: path,
      size: bytes.length,
      read: async (offset, length) => bytes.subarray(offset, offset + length),
      close: async () => undefined,
    });
    const { offset } = header.tensors.find(({ name }) => name === 'blk.0.ffn_down.weight')!;
    bytes.writeUInt16LE(0x7e00, offset);
    const damaged = join(folder, 'damaged.gguf');
    await writeFile(damaged, bytes);
    await using model = await loadModel(damaged, { weights: 'q8_0', engine: 'ggml', cacheDir: folder });
    await expect(model.generate(PROMPT, { maxNewTokens: 2 }).result()).rejects.toThrow(GraphError);
  });
});
