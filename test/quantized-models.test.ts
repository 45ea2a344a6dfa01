/**
 * A checkpoint of gpt-oss as it is published, with experts in mxfp4: its logits are those of the same values as plain
 * floats, and ggml multiplies the published 4 bits.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpointFolder } from '../src/checkpoint/open-node.ts';
import { type LoadOptions, loadModel } from '../src/node.ts';
import { LOGIT_TOLERANCE, largestError } from './parity/case.ts';
import { MORE_CASES } from './support/family-cases.ts';
import { f32, safetensorsFile, type TestTensor } from './support/safetensors-bytes.ts';
import { seeded } from './support/seeded.ts';
import { tempFolder } from './support/temp-folder.ts';

const [EXPERTS, WIDTH, INNER] = [4, 32, 64];
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];

describe('gpt-oss in mxfp4', async () => {
  const folder = await tempFolder('gpt-oss');
  const random = seeded(7);

  /** Packed experts [E, rows, cols / 32, 16], their exponents, and the floats [E, cols, rows] that they stand for. */
  function packed(rows: number, cols: number) {
    const blocks = Uint8Array.from({ length: (EXPERTS * rows * cols) / 2 }, () => random(256));
    const scales = Uint8Array.from({ length: (EXPERTS * rows * cols) / 32 }, () => 121 + random(3));
    const floats = new Float32Array(EXPERTS * rows * cols);
    for (let e = 0; e < EXPERTS; e++)
      for (let row = 0; row < rows; row++)
        for (let col = 0; col < cols; col++) {
          const at = (e * rows + row) * cols + col;
          const code = (blocks[at >> 1] >> (4 * (at & 1))) & 15;
          floats[(e * cols + col) * rows + row] = E2M1[code] * 2 ** (scales[at >> 5] - 127);
        }
    const u8 = (shape: number[], bytes: Uint8Array): TestTensor => ({ dtype: 'U8', shape, bytes });
    return {
      blocks: u8([EXPERTS, rows, cols / 32, 16], blocks),
      scales: u8([EXPERTS, rows, cols / 32], scales),
      floats: f32([EXPERTS, cols, rows], [...floats]),
    };
  }

  async function write(): Promise<{ published: string; plain: string }> {
    const from = join(MORE_CASES, 'gpt_oss');
    const config = JSON.parse(await readFile(join(from, 'config.json'), 'utf8'));
    const checkpoint = await openCheckpointFolder(from);
    const shared: Record<string, TestTensor> = {};
    for (const [name, tensor] of checkpoint.tensors) {
      if (/experts\.(gate_up|down)_proj/.test(name)) continue;
      const count = tensor.shape.reduce((a, b) => a * b, 1);
      shared[name] = f32(tensor.shape, [...(await tensor.readFloats(0, count))]);
    }
    await checkpoint.close();
    const [published, plain] = [{ ...shared }, { ...shared }];
    for (let l = 0; l < config.num_hidden_layers; l++)
      for (const [name, rows, cols] of [
        ['gate_up_proj', 2 * INNER, WIDTH],
        ['down_proj', WIDTH, INNER],
      ] as const) {
        const key = `model.layers.${l}.mlp.experts.${name}`;
        const { blocks, scales, floats } = packed(rows, cols);
        const bias = f32(
          [EXPERTS, rows],
          Array.from({ length: EXPERTS * rows }, () => random(1000) / 1000 - 0.5),
        );
        Object.assign(published, { [`${key}_blocks`]: blocks, [`${key}_scales`]: scales, [`${key}_bias`]: bias });
        Object.assign(plain, { [key]: floats, [`${key}_bias`]: bias });
      }
    const paths = { published: join(folder, 'published'), plain: join(folder, 'plain') };
    const quantization = { quant_method: 'mxfp4', modules_to_not_convert: ['model.layers.*.self_attn', 'lm_head'] };
    for (const [path, tensors, own] of [
      [paths.published, published, { quantization_config: quantization }],
      [paths.plain, plain, {}],
    ] as const) {
      await mkdir(path);
      await writeFile(join(path, 'config.json'), JSON.stringify({ ...config, intermediate_size: INNER, ...own }));
      await writeFile(join(path, 'model.safetensors'), safetensorsFile(tensors));
    }
    return paths;
  }

  it('has the logits of its values, and keeps its blocks', async () => {
    const { published, plain } = await write();
    const logitsOf = async (path: string, options: LoadOptions): Promise<Float32Array> => {
      await using model = await loadModel(path, { cacheDir: folder, ...options });
      const cache = model.createCache({ policy: 'dense', cacheLength: 16 });
      return (await model.step(cache, [[5, 9, 11, 40, 7]], { logits: 'all' })).logits.slice();
    };
    const wanted = await logitsOf(plain, { weights: 'float32' });
    for (const engine of ['ggml', 'onnx'] as const)
      expect(largestError(await logitsOf(published, { weights: 'float32', engine }), wanted), engine).toBeLessThan(
        LOGIT_TOLERANCE * Math.max(1, ...wanted.map(Math.abs)),
      );
    const own = join(folder, 'own');
    await logitsOf(published, { weights: 'mxfp4', engine: 'ggml', cacheDir: own });
    const [entry] = await readdir(join(own, 'weights'));
    const prepared = await readFile(join(own, 'weights', entry, 'weights.bin'));
    // The published bytes of the first expert's first block of down_proj, as ggml orders them.
    const checkpoint = await openCheckpointFolder(published);
    const down = checkpoint.tensors.get('model.layers.0.mlp.experts.0.down_proj.weight')!;
    const block = (await down.blocks!.read(0, 1)).subarray(0, 17);
    await checkpoint.close();
    expect(down.blocks!.format).toBe('mxfp4');
    expect(prepared.includes(Buffer.from(block))).toBe(true);
  });
});
