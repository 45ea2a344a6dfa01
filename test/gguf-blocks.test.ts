/**
 * Models of many architectures in every format of blocks of 32: the blocks of queries, of fused tensors and of experts
 * move with their rows. Values of blocks are those of the Python package gguf
 * (`src/checkpoint/gguf/dequantize.test.ts`).
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tensorType } from '../src/checkpoint/gguf/block-formats.ts';
import { openCheckpointFolder } from '../src/checkpoint/open-node.ts';
import { loadModel, type WeightChoice } from '../src/node.ts';
import { fittingFormat, type GgmlFormat } from '../src/weights/ggml-formats.ts';
import { LOGIT_TOLERANCE, largestError } from './parity/case.ts';
import { floatGguf } from './support/changed-gguf.ts';
import { requantizedGguf } from './support/requantized-gguf.ts';
import { tempFolder } from './support/temp-folder.ts';

const MODELS = join(import.meta.dirname, 'fixtures/gguf/models');
const ARCHITECTURES = [
  ...['llama', 'mixtral', 'gemma3', 'phi3', 'gpt2', 'bloom'],
  ...['granitemoe', 'olmo2', 'deepseek_v2', 'jamba', 'gpt_oss', 'qwen3_next'],
];
const FORMATS: readonly GgmlFormat[] = ['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'iq4_nl', 'mxfp4'];
/** Of the largest logit, in f16: blocks of the file are kept and multiplied in two terms where they can be. */
const ROUNDING = 0.02;
const IDS = [5, 9, 11, 40, 7, 60, 8, 33];

/** The median of the tokens' largest errors: rounding lets a token of some model take another expert. */
function usualError(logits: Float32Array, exact: Float32Array): number {
  const size = exact.length / IDS.length;
  const errors = IDS.map((_, i) =>
    largestError(logits.subarray(i * size, (i + 1) * size), exact.subarray(i * size, (i + 1) * size)),
  );
  return errors.sort((a, b) => a - b)[IDS.length / 2];
}

describe('blocks of a GGUF file', async () => {
  const folder = await tempFolder('gguf-blocks');

  async function logitsOf(path: string, weights: WeightChoice): Promise<Float32Array> {
    await using model = await loadModel(path, { weights, engine: 'ggml', cacheDir: folder });
    const cache = model.createCache({ policy: 'dense', cacheLength: 16 });
    return (await model.step(cache, [IDS], { logits: 'all' })).logits.slice();
  }

  /** Checks all tensors of both files against each other. @returns how many can be kept as the file's blocks */
  async function keptTensors(path: string, floats: string): Promise<number> {
    const [own, wanted] = [await openCheckpointFolder(path), await openCheckpointFolder(floats)];
    let kept = 0;
    expect([...own.tensors.keys()].sort()).toEqual([...wanted.tensors.keys()].sort());
    for (const [name, tensor] of own.tensors) {
      const count = tensor.shape.reduce((a, b) => a * b, 1);
      const values = await tensor.readFloats(0, count);
      expect(values, name).toEqual(await wanted.tensors.get(name)!.readFloats(0, count));
      const { blocks } = tensor;
      if (!blocks || /^b?f\d+$/.test(blocks.format)) continue;
      kept++;
      const unpacked = new Float32Array(count);
      const rows = count / tensor.shape[tensor.shape.length - 1];
      tensorType(blocks.format).dequantize(await blocks.read(0, rows), unpacked);
      expect(unpacked, name).toEqual(values);
    }
    await own.close();
    await wanted.close();
    return kept;
  }

  it.each(ARCHITECTURES)('of %s stand for the values that they are read as, in every format', async (name) => {
    const plain = await logitsOf(join(MODELS, `${name}.gguf`), 'float32');
    for (const format of FORMATS) {
      const path = join(folder, `${name}-${format}.gguf`);
      let made = 0;
      await requantizedGguf(join(MODELS, `${name}.gguf`), path, (tensor, cols) => {
        if (/norm|_gate_inp|conv|ssm_[ad]\b|_bias|sinks/.test(tensor) || fittingFormat(format, cols) !== format)
          return null;
        made++;
        return format;
      });
      expect(made, format).toBeGreaterThan(4);
      const floats = join(folder, `${name}-${format}-floats.gguf`);
      await writeFile(floats, await floatGguf(new Uint8Array(await readFile(path))));
      // Most of GPT-2's are read turned around.
      expect(await keptTensors(path, floats), format).toBeGreaterThan(1);
    }
    // Each architecture runs in one of the formats.
    const format = FORMATS[ARCHITECTURES.indexOf(name) % FORMATS.length];
    const path = join(folder, `${name}-${format}.gguf`);
    const exact = await logitsOf(path, 'float32');
    const floats = await logitsOf(join(folder, `${name}-${format}-floats.gguf`), 'float32');
    expect(largestError(exact, floats)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
    expect(largestError(exact, plain)).toBeGreaterThan(0);
    const largest = exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(usualError(await logitsOf(path, 'f16'), exact)).toBeLessThan(ROUNDING * largest);
  });
});
