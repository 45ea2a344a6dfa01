import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LanguageModel, loadModel } from '../node.ts';
import { CacheFullError, InputError } from '../util/errors.ts';
import { measureSpeed, type SpeedSettings, searchSpeed } from './speed.ts';

let model: LanguageModel;
let cacheDir: string;
beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-speed-'));
  model = await loadModel(join(import.meta.dirname, '../../models/tiny'), { cacheDir, threads: 1 });
});
afterAll(async () => {
  await model.dispose();
  await rm(cacheDir, { recursive: true, force: true });
});

describe('measureSpeed', () => {
  it('tells what it did, and how long that took', async () => {
    const seen: [number, number][] = [];
    const options = { promptTokens: 40, newTokens: 3, rounds: 2, chunkLength: 16 };
    const result = await measureSpeed(model, { ...options, onRound: (done, total) => seen.push([done, total]) });
    expect(result).toMatchObject(options);
    expect(seen).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
    expect(result.cacheBytes).toBe(43 * 3072);
    for (const value of Object.values(result)) expect(value).toBeGreaterThan(0);
    expect(result.prefillSpeed).toBeCloseTo((40 * 1000) / result.firstTokenMs);
    expect(result.totalMs).toBeCloseTo(result.firstTokenMs + (3 * 1000) / result.decodeSpeed);
  });

  it('goes through the cache that was asked for', async () => {
    const cache = { policy: 'lastrec', cacheLength: 16, buffer: 'int8' } as const;
    const { cacheBytes } = await measureSpeed(model, { cache, promptTokens: 40, newTokens: 2, rounds: 1 });
    expect(cacheBytes).toBe(16 * 6 * 2 * (2 * 34));
  });

  it('refuses what can not be measured', async () => {
    for (const options of [{ promptTokens: 0 }, { newTokens: 1.5 }, { rounds: 0 }, { chunkLength: 0 }])
      await expect(measureSpeed(model, options)).rejects.toThrow(InputError);
    await expect(measureSpeed(model, { promptTokens: 5000 })).rejects.toThrow(/more than the model's 4096 positions/);
    const cache = { policy: 'dense', cacheLength: 8 };
    await expect(measureSpeed(model, { cache, promptTokens: 9, newTokens: 1 })).rejects.toThrow(CacheFullError);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(measureSpeed(model, { signal })).rejects.toThrow('enough');
  });
});

describe('searchSpeed', () => {
  const begin: SpeedSettings = { threads: 2, weights: 'float32', chunkLength: 256, buffer: 'float32' };
  const choices = {
    threads: [1, 2],
    weights: ['float32', 'int4'],
    chunkLength: [64, 256],
    buffer: ['float32', 'int8'],
  } as const;
  /** Times as if each setting had its own share. */
  const timed = (cost: (settings: SpeedSettings) => number) => async (settings: SpeedSettings) => ({
    prefillSpeed: 1,
    decodeSpeed: 1,
    totalMs: cost(settings),
  });

  it('keeps the best of each setting for the next', async () => {
    const told: [number, number][] = [];
    const cost = ({ threads, weights, chunkLength, buffer }: SpeedSettings) =>
      1000 / threads - (weights === 'int4' ? 200 : 0) + chunkLength / 4 + (buffer === 'int8' ? 100 : 0);
    const { trials, fastest } = await searchSpeed(begin, choices, timed(cost), (...args) => told.push(args));
    expect(fastest).toMatchObject({ threads: 2, weights: 'int4', chunkLength: 64, buffer: 'float32' });
    expect(trials.map(({ threads, weights, chunkLength, buffer }) => [threads, weights, chunkLength, buffer])).toEqual([
      [2, 'float32', 256, 'float32'],
      [1, 'float32', 256, 'float32'],
      [2, 'int4', 256, 'float32'],
      [2, 'int4', 64, 'float32'],
      [2, 'int4', 64, 'int8'],
    ]);
    expect(told).toEqual([1, 2, 3, 4, 5].map((n) => [n, 5]));
  });

  it('does not move for what may be noise', async () => {
    const cost = (settings: SpeedSettings) => (JSON.stringify(settings) === JSON.stringify(begin) ? 100 : 98);
    expect((await searchSpeed(begin, choices, timed(cost))).fastest).toMatchObject(begin);
  });

  it('passes an error on', async () => {
    const fail = async () => Promise.reject(new InputError('no'));
    await expect(searchSpeed(begin, choices, fail)).rejects.toThrow('no');
  });
});
