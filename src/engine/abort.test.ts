import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { GgmlSession } from '../backends/ggml/graph/session.ts';
import { loadModel } from '../node.ts';
import { range } from '../util/numbers.ts';

const TINY = join(import.meta.dirname, '../../models/tiny');
const cacheDir = await tempFolder('abort');

/** From now on a step ends only by its signal. @returns a promise that a step runs. */
function holdSteps(): Promise<void> {
  return new Promise((started) => {
    vi.spyOn(GgmlSession.prototype, 'run').mockImplementation((_, { signal } = {}) => {
      started();
      return new Promise((_, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason));
      });
    });
  });
}

describe('an abort while a chunk of a prompt is computed', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });
  const prompt = range(300).map((i) => 1 + (i % 97));

  it('stops it, and leaves the cache with the chunks before', async () => {
    await using model = await loadModel(TINY, { weights: 'float32', engine: 'ggml', cacheDir, threads: 1 });
    const wanted = await model.generate(prompt, { maxNewTokens: 4, temperature: 0 }).result();
    const cache = model.createCache({ cacheLength: 400 });
    await model.prefill(cache, prompt.slice(0, 100));
    const aborter = new AbortController();
    const reason = new Error('enough');
    const started = holdSteps();
    const reading = model.prefill(cache, prompt.slice(100), { signal: aborter.signal });
    await started;
    aborter.abort(reason);
    await expect(reading).rejects.toBe(reason);
    expect(cache.length()).toBe(100);
    vi.restoreAllMocks();
    const result = await model.generate(prompt.slice(100), { cache, maxNewTokens: 4, temperature: 0 }).result();
    expect(result.text).toBe(wanted.text);
  });

  it('ends a generation, and the model goes on with others', async () => {
    await using model = await loadModel(TINY, { weights: 'float32', engine: 'ggml', cacheDir, threads: 1 });
    const aborter = new AbortController();
    const started = holdSteps();
    const result = model.generate(prompt, { maxNewTokens: 4, signal: aborter.signal }).result();
    const ended = expect(result).rejects.toThrow();
    await started;
    aborter.abort();
    await ended;
    vi.restoreAllMocks();
    expect((await model.generate(prompt, { maxNewTokens: 2, eosTokenIds: [] }).result()).tokens).toHaveLength(2);
  });
});
