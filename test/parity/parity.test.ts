import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../../src/node.ts';
import { built } from '../support/built.ts';
import { caseFolder, FAMILY_CASES, MORE_CASES } from '../support/family-cases.ts';
import type { TestTensor } from '../support/safetensors-bytes.ts';
import { floatsOf, readTensors, writeTensors } from '../support/safetensors-file.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { argmax, LOGIT_TOLERANCE, largestError, readGolden } from './case.ts';
import { CHUNK_TOLERANCE, compareGreedy, compareLogits } from './family-case.ts';
import { findCases, runCase } from './walk.ts';

const folder = await tempFolder('parity');
const context = { cacheDir: join(folder, 'cache'), models: [] };
const MODELS = join(import.meta.dirname, '../../models');

const found = (await Promise.all([FAMILY_CASES, MORE_CASES, MODELS].map((root) => findCases(root)))).flat();

describe('parity with the golden values', () => {
  it.each(found.map((one) => [one.name, one] as const))('%s', async (_, one) => {
    const report = await runCase(one, context);
    expect(report).toMatchObject({ passed: true, name: one.name });
    expect(report.error).toBeLessThanOrEqual(2e-4);
    expect(report.message).toMatch(/chunks of 1, 3, 7|^hidden/);
  });

  it('is no looser than it was meant to be', () => {
    expect({ LOGIT_TOLERANCE, CHUNK_TOLERANCE }).toEqual({ LOGIT_TOLERANCE: 2e-4, CHUNK_TOLERANCE: 1e-4 });
  });

  it('finds every case', () => {
    expect(found.map(({ name }) => name)).toEqual(expect.arrayContaining(['llama', 'gpt_neox-odd-repro', 'tiny']));
    expect(found.length).toBeGreaterThan(67);
  });
});

/** A copy of a case whose golden values were changed. */
async function spoiled(name: string, change: (golden: Record<string, TestTensor>) => void): Promise<string> {
  const copy = join(folder, 'spoiled', name);
  await cp(caseFolder('llama'), copy, { recursive: true });
  const path = join(copy, 'expected.safetensors');
  const golden = await readTensors(path);
  change(golden);
  await writeTensors(path, golden);
  return copy;
}

async function reportOf(path: string) {
  const [one, ...others] = await findCases(path);
  expect(others).toEqual([]);
  return runCase(one, context);
}

describe('a case fails', () => {
  it.each<[string, (golden: Record<string, TestTensor>) => void, RegExp]>([
    [
      'by one logit',
      ({ logits }) => {
        floatsOf(logits)[2000] += 0.1;
      },
      /^logits differ by \d\.\d\de-[123]$/,
    ],
    [
      'by NaN',
      ({ logits }) => {
        floatsOf(logits)[0] = Number.NaN;
      },
      /^logits differ by Infinity$/,
    ],
    [
      'by a greedy token',
      ({ greedy_tokens }) => {
        const ids = new BigInt64Array(greedy_tokens.bytes.buffer);
        ids[20] = (ids[20] + 1n) % 97n;
      },
      /^greedy token 20 is \d+ instead of \d+$/,
    ],
    [
      'by a missing row',
      (golden) => {
        const { shape, bytes, dtype } = golden.logits;
        golden.logits = { dtype, shape: [1, ...shape.slice(1)], bytes: bytes.slice(0, bytes.length / 2) };
      },
      /^logits differ by Infinity$/,
    ],
    [
      'by missing logits',
      (golden) => {
        delete golden.logits;
      },
      /holds no input_ids and logits/,
    ],
  ])('%s', async (name, change, message) => {
    const report = await reportOf(await spoiled(name.replaceAll(' ', '-'), change));
    expect(report.passed).toBe(false);
    expect(report.message).toMatch(message);
  });

  it('of an unknown family, and by its own words', async () => {
    const copy = join(folder, 'unknown');
    await cp(caseFolder('llama'), copy, { recursive: true });
    const config = JSON.parse(await readFile(join(copy, 'config.json'), 'utf8'));
    await writeFile(join(copy, 'config.json'), JSON.stringify({ ...config, model_type: 'no_such_family' }));
    const report = await reportOf(copy);
    expect(report).toMatchObject({ passed: false, error: null, kind: 'family' });
    expect(report.message).toMatch(/^ConfigError: .*model_type is "no_such_family"/);
  });

  it('by damaged weights', async () => {
    const copy = join(folder, 'damaged');
    await cp(caseFolder('llama'), copy, { recursive: true });
    const weights = await readTensors(join(copy, 'model.safetensors'));
    floatsOf(weights['model.layers.1.mlp.up_proj.weight'])[7] += 1;
    await writeTensors(join(copy, 'model.safetensors'), weights);
    expect((await reportOf(copy)).message).toMatch(/^logits differ by/);
    floatsOf(weights['model.layers.1.mlp.up_proj.weight'])[7] = Number.NaN;
    await writeTensors(join(copy, 'model.safetensors'), weights);
    expect((await reportOf(copy)).message).toMatch(/^CheckpointError: .*up_proj.weight holds NaN in row 0, column 7/);
    await writeFile(join(copy, 'model.safetensors'), 'no tensors');
    expect((await reportOf(copy)).message).toMatch(/^CheckpointError: /);
  });

  it('where chunks of another length give other logits', async () => {
    await using model = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir: context.cacheDir });
    const golden = await readGolden(join(caseFolder('llama'), 'expected.safetensors'));
    /** The model, but chunks of 3 leave a value behind that is off. */
    const steps: Parameters<typeof compareLogits>[0] = {
      createCache: (options) => model.createCache(options),
      step: (...args) => model.step(...args),
      prefill: async (cache, tokens, options) => {
        const logits = (await model.prefill(cache, tokens, options)).slice();
        if (options?.chunkLength === 3) logits[100] += 0.1;
        return logits;
      },
    };
    const failures: string[] = [];
    const { error } = await compareLogits(steps, golden, failures);
    expect(error).toBeLessThan(1e-4);
    expect(failures).toEqual([expect.stringMatching(/^chunks of 3 differ by \d\.\d\de-[123]$/)]);
    expect(await compareGreedy(model, new Map(), [])).toBe('nothing greedy');
  });
});

describe('largestError', () => {
  it('is the largest difference', () => {
    expect(largestError([1, 2, 3], [1, 2.5, 2.75])).toBe(0.5);
    expect(largestError([], [])).toBe(0);
  });

  it('is infinite for NaN on either side, infinite values and other lengths', () => {
    for (const [actual, expected] of [
      [
        [1, Number.NaN],
        [1, 2],
      ],
      [
        [1, 2],
        [Number.NaN, 2],
      ],
      [
        [Number.NaN, 9],
        [Number.NaN, 1],
      ],
      [[Infinity], [Infinity]],
      [[Infinity], [1]],
      [[1], [1, 1]],
      [[1, 1], [1]],
    ])
      expect(largestError(actual, expected)).toBe(Infinity);
  });

  it('takes all that is never predicted for the same', () => {
    expect(largestError([-1e30, 0], [-3e38, 0])).toBe(0);
    expect(largestError([-5, 0], [-1e30, 0])).toBeGreaterThan(1e29);
    expect(largestError([-1e30, 0], [-5, 0])).toBeGreaterThan(1e29);
  });
});

describe('argmax', () => {
  it('is the first of the largest, counted from the start', () => {
    expect(argmax([1, 3, 3, 2])).toBe(1);
    expect(argmax([9, 1, 3, 3, 9], 1, 4)).toBe(1);
  });
});

describe('findCases', () => {
  it('finds nothing where there is nothing, and no folder that lacks a part', async () => {
    const empty = join(folder, 'empty');
    await mkdir(join(empty, 'deep'), { recursive: true });
    await cp(caseFolder('llama'), join(empty, 'deep/llama'), { recursive: true });
    expect(await findCases(empty)).toMatchObject([{ name: 'deep/llama', kind: { name: 'family' } }]);
    await writeFile(join(empty, 'config.json'), '{}');
    expect(await findCases(empty)).toHaveLength(1);
    expect(await findCases(join(empty, 'config.json'))).toEqual([]);
  });
});

describe('the command', () => {
  async function run(...args: string[]): Promise<{ code: number; output: string }> {
    const main = built(join(import.meta.dirname, 'main.ts'));
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += String(data);
      });
    const [code] = await once(child, 'close');
    return { code, output };
  }

  it('ends with 0 where all cases pass', async () => {
    const { code, output } = await run(FAMILY_CASES, '--only', 'gpt2');
    expect(output).toMatch(/^ok {3}gpt2 +\d\.\de-\d {2}2x24 tokens.*\n1 passed, 0 failed\n$/);
    expect(code).toBe(0);
  });

  it('ends with 1 where one fails, and says which', async () => {
    await spoiled('for-the-command', ({ logits }) => {
      floatsOf(logits)[5] = Number.NaN;
    });
    const { code, output } = await run(join(folder, 'spoiled/for-the-command'), '--json');
    expect(JSON.parse(output)).toMatchObject([{ passed: false, message: 'logits differ by Infinity' }]);
    expect(code).toBe(1);
  });

  it('ends with 1 where there are no cases', async () => {
    const { code, output } = await run(FAMILY_CASES, '--only', 'no such case');
    expect(output).toMatch(/no cases found in .*\n0 passed, 0 failed/);
    expect(code).toBe(1);
  });
});
