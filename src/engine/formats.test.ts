import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { type Golden, readGolden, rowsOf } from '../../test/parity/case.ts';
import { encoderInput } from '../../test/parity/encoder-case.ts';
import { loadCase } from '../../test/parity/load-case.ts';
import { CASES, caseFolder } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { EncoderModel } from '../embed/encoder-model.ts';
import { defaultEngine } from '../load/engines-node.ts';
import { type LanguageModel, loadModel } from '../node.ts';
import type { WeightFormat } from '../weights/types.ts';
import { logSoftmaxAt } from './sampling/sampler.ts';

const cacheDir = await tempFolder('formats');

/** exp of the mean loss of each token but the first. */
async function perplexity(weights: WeightFormat, length: number): Promise<number> {
  await using model = await loadModel('models/tiny', { weights, cacheDir });
  const text = await readFile('models/tiny/validation.txt', 'utf8');
  const tokens = model.tokenizer.encode(text).slice(0, length);
  const logits = await model.prefill(model.createCache(), tokens, { logits: 'all' });
  const { vocabSize } = model.config;
  let loss = 0;
  for (let i = 1; i < tokens.length; i++)
    loss -= logSoftmaxAt(logits.subarray((i - 1) * vocabSize, i * vocabSize), tokens[i]);
  return Math.exp(loss / (tokens.length - 1));
}

describe('perplexity', () => {
  it('is close to that of float32 with 8 and with 4 bits', async () => {
    const [f32, int8, int4] = [
      await perplexity('float32', 2048),
      await perplexity('int8', 2048),
      await perplexity('int4', 2048),
    ];
    // Measured: 58.26, 58.26 and 59.36.
    expect(Math.abs(f32 / 58.26 - 1)).toBeLessThan(0.01);
    expect(Math.abs(int8 / f32 - 1)).toBeLessThan(0.01);
    expect(int4 / f32).toBeGreaterThan(1);
    expect(int4 / f32).toBeLessThan(1.1);
  });
});

/** All logits of a decoder, or what an encoder gives. */
async function resultOf(
  model: LanguageModel | EncoderModel,
  golden: ReadonlyMap<string, Golden>,
): Promise<Float32Array> {
  if (model instanceof EncoderModel) return (await model.encode(encoderInput(model, golden))).data;
  const prompts = rowsOf(golden.get('input_ids')!);
  const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength: 128 });
  return (await model.step(cache, prompts, { logits: 'all' })).logits;
}

describe('formats of ggml', () => {
  it.runIf(defaultEngine() === 'ggml').each([
    // Measured, in % above float32, of processors with AVX-512 VNNI and with AVX2.
    ['f16', 0.01],
    ['bf16', 0.02],
    ['q8_0', 0.05],
    ['q6_k', 0.3],
    ['q5_k', 0.6],
    ['q5_1', 0.6],
    ['q5_0', 0.6],
    ['q4_k', 2],
    ['q4_1', 2],
    ['iq4_nl', 2],
    ['iq4_xs', 2],
    ['q4_0', 3],
    ['mxfp4', 5],
    ['q3_k', 9],
    ['q2_k', 60],
  ] as const)('%s costs the small model at most %s %% of perplexity', async (weights, most) => {
    const cost = 100 * ((await perplexity(weights, 1024)) / (await exact()) - 1);
    expect(cost).toBeLessThan(most);
    expect(cost).not.toBe(0);
  });

  let known: Promise<number> | undefined;
  const exact = () => {
    known ??= perplexity('float32', 1024);
    return known;
  };
});

describe('with 8 and 4 bits every family computes nearly what it does in float32', () => {
  /**
   * Largest error of all logits, as a share of their size. The weights are random, which quantizes worse than trained
   * ones.
   */
  const MOST: Readonly<Record<string, number>> = { int8: 0.2, int4: 0.7 };

  it.each(CASES)('%s', async (name) => {
    const golden = await readGolden(`${caseFolder(name)}/expected.safetensors`);
    const expected = (golden.get('logits') ?? golden.get('hidden')!).data;
    const shares: number[] = [];
    for (const weights of ['int8', 'int4'] as const) {
      await using model = await loadCase(caseFolder(name), { weights, cacheDir });
      const logits = await resultOf(model, golden);
      expect(logits.length).toBe(expected.length);
      let error = 0;
      let size = 0;
      for (let i = 0; i < expected.length; i++) {
        if (expected[i] <= -1e30) continue; // never predicted
        error += (logits[i] - expected[i]) ** 2;
        size += expected[i] ** 2;
      }
      shares.push(Math.sqrt(error / size));
      expect(shares.at(-1), weights).toBeLessThan(MOST[weights]);
    }
    // Fewer bits are worse: neither is float32 by another name.
    expect(shares[0]).toBeGreaterThan(1e-4);
    expect(shares[1]).toBeGreaterThan(shares[0]);
  });
});
