import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bytesSource, f32, safetensorsFile } from '../../../test/support/safetensors-bytes.ts';
import { CheckpointError } from '../../util/errors.ts';
import { tensorType } from '../gguf/blocks/block-formats.ts';
import { checkpointFromFiles } from '../open.ts';
import { openCheckpointFolder } from '../open-node.ts';
import { readSafetensors } from '../safetensors.ts';

const FOLDER = join(import.meta.dirname, '../../../test/fixtures/quantized');
const CASES = readdirSync(FOLDER);
/** Cases whose blocks are ggml's. */
const KEPT = [
  ...[
    'compressed-tensors-int4-half',
    'compressed-tensors-mxfp4',
    'gptq-4bit-symmetric',
    'mlx-floats',
    'mxfp4-experts',
    'quark',
  ],
];

describe('checkpoints that are quantized already', () => {
  it('are of all methods', () => {
    expect(CASES.length).toBeGreaterThan(30);
  });

  it.each(CASES)('%s: the values of an independent reference, whole and in parts', async (name) => {
    const checkpoint = await openCheckpointFolder(join(FOLDER, name));
    const source = bytesSource(new Uint8Array(await readFile(join(FOLDER, name, 'dequantized.safetensors'))));
    const expected = (await readSafetensors(source)).tensors;
    expect([...checkpoint.tensors.keys()].sort()).toEqual([...expected.keys()].sort());
    expect(Object.keys(checkpoint.config)).toEqual(['model_type', 'vocab_size']);
    expect(checkpoint.note).toMatch(/quantized already/);
    for (const [key, wanted] of expected) {
      const tensor = checkpoint.tensors.get(key)!;
      expect(tensor.shape, key).toEqual(wanted.shape);
      const count = wanted.shape.reduce((a, b) => a * b, 1);
      const values = await wanted.readFloats(0, count);
      const found = await tensor.readFloats(0, count);
      const size = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      // The reference rounds after each product in float32 or not at all: half a unit in the last place of the largest.
      const worst = found.reduce((most, value, i) => Math.max(most, Math.abs(value - values[i])), 0);
      expect(worst, key).toBeLessThanOrEqual(size * 2 ** -22);
      for (const [start, length] of [
        [1, 2],
        [count - 3, 3],
        [Math.floor(count / 2) - 1, 3],
      ])
        expect(await tensor.readFloats(start, length), key).toEqual(found.slice(start, start + length));
    }
    await checkpoint.close();
  });

  it('are held exactly in blocks of q4_0 where they are symmetric, of 4 bits, with scales of float16, and of mxfp4', async () => {
    const kept: string[] = [];
    for (const name of CASES) {
      const checkpoint = await openCheckpointFolder(join(FOLDER, name));
      for (const tensor of checkpoint.tensors.values()) {
        const { blocks } = tensor;
        if (!blocks || /^b?f\d+$/.test(blocks.format)) continue;
        if (!kept.includes(name)) kept.push(name);
        const [rows, cols] = tensor.shape;
        for (const [start, count] of [
          [0, rows],
          [rows - 1, 1],
        ]) {
          const values = new Float32Array(count * cols);
          tensorType(blocks.format).dequantize(await blocks.read(start, count), values);
          // -0 and 0 are the same value.
          expect([...values].map((value) => value + 0)).toEqual(
            [...(await tensor.readFloats(start * cols, count * cols))].map((value) => value + 0),
          );
        }
      }
      await checkpoint.close();
    }
    expect(kept).toEqual(KEPT);
  });

  /** A checkpoint with these settings and tensors. */
  async function refusal(config: unknown, tensors: Record<string, ReturnType<typeof f32>> = {}): Promise<string> {
    const files: Record<string, Uint8Array> = {
      'config.json': new TextEncoder().encode(JSON.stringify(config)),
      'model.safetensors': safetensorsFile({ x: f32([1], [1]), ...tensors }),
    };
    const error = await checkpointFromFiles({
      name: 'm',
      list: async () => Object.keys(files),
      open: async (file) => (files[file] ? bytesSource(files[file], file) : undefined),
    }).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(CheckpointError);
    return (error as Error).message;
  }

  it('say what a bias of zeros is, which AutoGPTQ wrote to every module', async () => {
    const checkpoint = await openCheckpointFolder(join(FOLDER, 'gptq-settings-file'));
    const biases = [...checkpoint.tensors.values()].filter(({ name }) => name.endsWith('.bias'));
    expect(biases.map(({ isNeutral }) => isNeutral)).toEqual([true]);
    await checkpoint.close();
  });

  it('are refused by name where they are not read', async () => {
    const settings = (own: object) => ({ model_type: 'llama', quantization_config: own });
    expect(await refusal(settings({ quant_method: 'aqlm' }))).toMatch(/"aqlm", which is not read; known are gptq, awq/);
    expect(await refusal(settings({ quant_method: 'constructor' }))).toMatch(/not read/);
    expect(await refusal(settings({ quant_method: 7 }))).toMatch(/quant_method must be text/);
    expect(await refusal(settings({ quant_method: 'gptq', bits: '4' }))).toMatch(/bits must be a whole number/);
    expect(await refusal(settings({ quant_method: 'gptq', bits: 4, format: 'marlin' }))).toMatch(/gptq_v2/);
    expect(await refusal(settings({ quant_method: 'awq', bits: 4, version: 'gemv_fast' }))).toMatch(/"gemm"/);
    expect(await refusal(settings({ quant_method: 'fp8', weight_block_size: [128] }))).toMatch(/two whole numbers/);
    const rotated = { quant_method: 'compressed-tensors', transform_config: { config_groups: { a: {} } } };
    expect(await refusal(settings(rotated))).toMatch(/rotated/);
    const sparse = { quant_method: 'compressed-tensors', sparsity_config: { format: 'sparse-24-bitmask' } };
    expect(await refusal(settings(sparse))).toMatch(/dense/);
  });

  it('are refused where tensors are missing or do not fit', async () => {
    const gptq = { model_type: 'llama', quantization_config: { quant_method: 'gptq', bits: 4 } };
    expect(await refusal(gptq, { 'a.qweight': f32([4, 8], new Array(32).fill(0)) })).toMatch(
      /the module a has no qzeros; it has qweight/,
    );
    const shapes = { 'a.qzeros': f32([1, 3], [0, 0, 0]), 'a.scales': f32([1, 8], new Array(8).fill(1)) };
    expect(await refusal(gptq, { 'a.qweight': f32([4, 8], new Array(32).fill(0)), ...shapes })).toMatch(/do not fit/);
    const fp8 = { model_type: 'llama', quantization_config: { quant_method: 'fp8', weight_block_size: [2, 2] } };
    const weight = f32([4, 4], new Array(16).fill(1));
    expect(await refusal(fp8, { 'a.weight': weight, 'a.weight_scale_inv': f32([3, 2], [1, 1, 1, 1, 1, 1]) })).toMatch(
      /does not fit a matrix \[4, 4\]/,
    );
  });
});
