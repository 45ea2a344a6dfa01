/**
 * @file What tests of block formats compare: tensors of a file with those of one that holds the same values in float32,
 * and logits.
 */
import { expect } from 'vitest';
import { tensorType } from '../../src/checkpoint/gguf/blocks/block-formats.ts';
import { openCheckpointFolder } from '../../src/checkpoint/open-node.ts';
import { loadModel, type WeightChoice } from '../../src/node.ts';
import { largestError } from '../parity/case.ts';

/** Twelve architectures of GGUF, by cases of families. */
export const ARCHITECTURES = [
  ...['llama', 'mixtral', 'gemma3', 'phi3', 'gpt2', 'bloom'],
  ...['granitemoe', 'olmo2', 'deepseek_v2', 'jamba', 'gpt_oss', 'qwen3_next'],
] as const;
/** Of the largest logit, in f16: blocks of the file are kept and multiplied in two terms where they can be. */
export const ROUNDING = 0.02;
const IDS = [5, 9, 11, 40, 7, 60, 8, 33];

/** Of a prompt of eight tokens, on ggml. @param cacheDir for prepared weights */
export async function logitsOf(path: string, weights: WeightChoice, cacheDir: string): Promise<Float32Array> {
  await using model = await loadModel(path, { weights, engine: 'ggml', cacheDir });
  const cache = model.createCache({ policy: 'dense', cacheLength: 16 });
  return (await model.step(cache, [IDS], { logits: 'all' })).logits.slice();
}

/** The median of the tokens' largest errors: rounding lets a token of some model take another expert. */
export function usualError(logits: Float32Array, exact: Float32Array): number {
  const size = exact.length / IDS.length;
  const errors = IDS.map((_, i) =>
    largestError(logits.subarray(i * size, (i + 1) * size), exact.subarray(i * size, (i + 1) * size)),
  );
  return errors.sort((a, b) => a - b)[IDS.length / 2];
}

/** Checks all tensors of both files against each other. @returns how many can be kept as the file's blocks */
export async function keptTensors(path: string, floats: string): Promise<number> {
  const [own, wanted] = [await openCheckpointFolder(path), await openCheckpointFolder(floats)];
  let kept = 0;
  expect([...own.tensors.keys()].sort()).toEqual([...wanted.tensors.keys()].sort());
  for (const [name, tensor] of own.tensors) {
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    const values = await tensor.readFloats(0, count);
    expectSame(values, await wanted.tensors.get(name)!.readFloats(0, count), name);
    const { blocks } = tensor;
    if (!blocks || /^b?f\d+$/.test(blocks.format)) continue;
    kept++;
    const unpacked = new Float32Array(count);
    const rows = count / tensor.shape[tensor.shape.length - 1];
    tensorType(blocks.format).dequantize(await blocks.read(0, rows), unpacked);
    expectSame(unpacked, values, name);
  }
  await own.close();
  await wanted.close();
  return kept;
}

/** `toEqual` of so many values takes seconds. */
function expectSame(found: Float32Array, wanted: Float32Array, name: string): void {
  expect(found.length, name).toBe(wanted.length);
  for (let i = 0; i < found.length; i++)
    if (found[i] !== wanted[i]) expect.fail(`${name}, value ${i}: ${found[i]} instead of ${wanted[i]}`);
}
