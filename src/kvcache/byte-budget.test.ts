import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_BUFFERS,
  anyRun,
  cacheOptions,
  check,
  EVERY,
  stepTokens,
  tokensFrom,
} from '../../test/support/cache-runs.ts';
import { fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, fakeRotation, fakeShape } from '../../test/support/fake-model.ts';
import { CacheFullError, InputError } from '../util/errors.ts';
import { blockCodec } from './buffers/blocks.ts';
import { denseBytes, mostBytes, readCacheBytes, resolveCacheBytes } from './byte-budget.ts';
import { createCache } from './policies.ts';
import { restoreCache, snapshotCache } from './snapshot.ts';

const CONTEXT = 150;

describe('cacheBytes', () => {
  it('is a number, a size or a part', () => {
    expect(readCacheBytes(5000)).toEqual({ bytes: 5000 });
    expect(readCacheBytes('64MB')).toEqual({ bytes: 64e6 });
    expect(readCacheBytes('1.5 KiB')).toEqual({ bytes: 1536 });
    expect(readCacheBytes('10%')).toEqual({ part: 0.1 });
    for (const odd of [0, -1, Number.NaN, '', '-3MB', 'MB', '10 %%', '1TB', {}, null])
      expect(() => readCacheBytes(odd), String(odd)).toThrow(/cacheBytes must be/);
  });

  it('is never exceeded between two steps, whatever the policy, the buffer, the batch and the shape', () => {
    const runs = anyRun({ rows: 3, buffers: ALL_BUFFERS, steps: 8, headSizes: [2, 4, 32], chunk: 30 });
    const own = fc.tuple(runs, fc.constantFrom(...EVERY), fc.integer({ min: 5, max: 120 }), fc.boolean());
    let within = 0;
    check(
      fc.property(own, ([run, policy, percent, isFree]) => {
        const shape = fakeShape(run.shape);
        const { cacheLength: _, sinks: _sinks, recent: _recent, ...options } = cacheOptions(run, policy);
        const buffer = isFree && !policy.lossy ? undefined : options.buffer;
        const given = { ...options, buffer, cacheBytes: `${percent}%` };
        let resolved: ReturnType<typeof resolveCacheBytes>;
        try {
          resolved = resolveCacheBytes(shape, given, CONTEXT);
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
          const [, least] = /takes ([\d,]+) bytes/.exec((error as Error).message) ?? expect.fail(String(error));
          resolved = resolveCacheBytes(shape, { ...given, cacheBytes: Number(least.replaceAll(',', '')) }, CONTEXT);
        }
        const bytes = Number(resolved.cacheBytes);
        const cache = createCache(shape, resolved, run.growth);
        const model = new FakeModel(shape, run.seed);
        try {
          for (const step of run.steps) {
            if (cache.length() > CONTEXT - 30) break;
            fakeStep(model, cache, stepTokens(cache, step), { phase: step.phase });
            expect(cache.memory().total).toBeLessThanOrEqual(bytes);
            within++;
          }
        } catch (error) {
          if (!(error instanceof CacheFullError)) throw error;
        }
        expect(mostBytes(cache, CONTEXT)).toBeLessThanOrEqual(bytes);
      }),
      400,
    );
    expect(within).toBeGreaterThan(1000);
  });

  const shape = fakeShape({ windows: [null, null], groups: 2, heads: 2, headSize: 64 });

  it('takes as many slots as fit, in the most exact format in which all tokens do', () => {
    const of = (cacheBytes: number | string, more = {}) => resolveCacheBytes(shape, { cacheBytes, ...more }, 1000);
    expect(denseBytes(shape, 1000)).toBe(2 * 2 * 2 * 2 * 64 * 1000);
    expect(of('300%')).toMatchObject({ buffer: 'float32', cacheLength: 1000, policy: 'lastrec' });
    expect(of('150%')).toMatchObject({ buffer: 'float16', cacheLength: 1000 });
    // In blocks of ggml, int5 and int4 take 5 bits a number, and the rest counts, too.
    const inBlocks = { ...shape, memory: { blocks: blockCodec } };
    const int5 = { keys: 'int5', values: 'int4' };
    expect(resolveCacheBytes(inBlocks, { cacheBytes: '34%' }, 1000)).toMatchObject({ buffer: int5, cacheLength: 1000 });
    const tenth = of('10%');
    expect(tenth.buffer).toBe('int4');
    const size = (cacheLength: number) => mostBytes(createCache(shape, { ...tenth, cacheLength }), 1000);
    expect(size(tenth.cacheLength)).toBeLessThanOrEqual(Number(tenth.cacheBytes));
    expect(size(tenth.cacheLength + 1)).toBeGreaterThan(Number(tenth.cacheBytes));
    expect(of('10%', { buffer: 'int8' }).cacheLength).toBeLessThan(tenth.cacheLength);
    expect(of('10%', { cacheLength: 500 }).cacheBytes).toBe(Math.floor(Number(tenth.cacheBytes) / 2));
    expect(of('10%', { policy: 'h2o' }).cacheLength).toBeLessThan(tenth.cacheLength);
  });

  it.each(['expected', 'mix(keydiff, expected)'])('has space for the queries that wait under %s', (policy) => {
    const turned = fakeShape({ windows: [null, null], groups: 2, heads: 2, headSize: 16, rotation: fakeRotation(16) });
    const options = resolveCacheBytes(turned, { cacheBytes: '60%', policy }, 600);
    const cache = createCache(turned, options);
    const model = new FakeModel(turned, 2);
    fakeStep(model, cache, [tokensFrom(0, 0, 300)], { phase: 'prompt' });
    for (let step = 0; step < 70; step++) {
      fakeStep(model, cache, [tokensFrom(0, cache.length(), 1)], { phase: 'decode' });
      expect(cache.memory().total).toBeLessThanOrEqual(Number(options.cacheBytes));
    }
  });

  it('that is too little for any cache says what the smallest one takes', () => {
    expect(() => resolveCacheBytes(shape, { cacheBytes: 100, policy: 'h2o' }, 1000)).toThrow(
      /cacheBytes of 100 bytes is too little: the smallest h2o cache of this model takes [\d,]+ bytes \(1 slot of/,
    );
  });

  it('is kept by forks, copies and snapshots, and single tokens are taken back', async () => {
    const options = resolveCacheBytes(shape, { cacheBytes: '20%', policy: 'h2o' }, 300);
    const bytes = Number(options.cacheBytes);
    const cache = createCache(shape, options);
    const model = new FakeModel(shape, 1);
    for (const count of [100, 90, 1, 1]) fakeStep(model, cache, [tokensFrom(0, cache.length(), count)]);
    cache.truncate(191);
    expect(cache.length()).toBe(191);
    const again = await restoreCache(await snapshotCache(cache, 'm'), shape, 'm');
    for (const copy of [cache.fork(), again]) {
      expect(copy.cacheLength).toBe(cache.cacheLength);
      for (const count of [60, 1]) fakeStep(model, copy, [tokensFrom(0, copy.length(), count)]);
      expect(copy.memory().total).toBeLessThanOrEqual(bytes);
    }
    fakeStep(model, cache, [tokensFrom(0, 191, 40)]);
    expect(() => cache.truncate(191)).toThrow(InputError);
  });
});
