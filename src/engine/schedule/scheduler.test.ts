import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { ids, watchSteps } from '../../../test/support/small-model.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadModel } from '../../load/load-model-node.ts';
import type { LanguageModel } from '../language-model.ts';
import type { LogitsProcessor } from '../sampling/logits.ts';

const cacheDir = await tempFolder('engine');
let small: LanguageModel;
let tiny: LanguageModel;
beforeAll(async () => {
  small = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir });
  tiny = await loadModel('models/tiny', { weights: 'float32', cacheDir, generationConfig: false });
});
afterAll(async () => {
  await small.dispose();
  await tiny.dispose();
});
afterEach(() => vi.restoreAllMocks());

const tokensOf = ({ tokens }: { tokens: readonly { token: number }[] }): number[] => tokens.map(({ token }) => token);

function abortable() {
  const aborter = new AbortController();
  return { signal: aborter.signal, abort: () => aborter.abort(new Error('enough')) };
}

describe('generations at the same time', () => {
  it('share their steps, and get what they get alone', async () => {
    const options = { maxNewTokens: 12, eosTokenIds: [] };
    const alone: number[][] = [];
    for (let i = 0; i < 6; i++) alone.push(tokensOf(await small.generate(ids(5, i), options).result()));
    const steps = watchSteps(small);
    const runs = Array.from({ length: 6 }, (_, i) => small.generate(ids(5, i), options));
    const results = await Promise.all(runs.map((run) => run.result()));
    expect(results.map(tokensOf)).toEqual(alone);
    expect(steps.filter((rows) => rows.length === 6).length).toBeGreaterThan(4);
    // 6 prompts, and fewer steps than six generations in turn would take.
    expect(steps.length).toBeLessThan(30);
    // Each cache has what its run read and generated.
    runs.forEach(({ cache }, i) => {
      expect([...cache.tokens(), ...cache.pending()]).toEqual([...ids(5, i), ...alone[i]]);
      expect(cache.pending()).toHaveLength(1);
    });
  });

  it('that are not read take no steps, and hold up no other', async () => {
    const waiting = small
      .generate(ids(5), { maxNewTokens: 50, eosTokenIds: [], processors: [] })
      [Symbol.asyncIterator]();
    const other = await small.generate(ids(6), { maxNewTokens: 10, eosTokenIds: [] }).result();
    expect(other.tokens).toHaveLength(10);
    await waiting.return?.(undefined);
  });

  it('end one by one: an abort leaves the others their steps', async () => {
    const { signal, abort } = abortable();
    const options = { maxNewTokens: 40, eosTokenIds: [] };
    const alone = tokensOf(await small.generate(ids(5, 1), options).result());
    let seen = 0;
    const counting: LogitsProcessor = () => {
      if (++seen === 4) abort();
    };
    const cut = small.generate(ids(5), { ...options, signal, processors: [counting] });
    const [a, b] = await Promise.allSettled([cut.result(), small.generate(ids(5, 1), options).result()]);
    expect(a).toMatchObject({ status: 'rejected', reason: { message: 'enough' } });
    expect(seen).toBe(4);
    expect(b.status === 'fulfilled' && tokensOf(b.value)).toEqual(alone);
  });

  it('fail one by one, where a step fails for all of its rows', async () => {
    const options = { maxNewTokens: 10, eosTokenIds: [] };
    const alone = tokensOf(await small.generate(ids(5, 1), options).result());
    const step = small.step.bind(small);
    vi.spyOn(small, 'step').mockImplementation((cache, chunk, given) => {
      const [bad] = chunk;
      if (bad.length === 1 && cache.length(0) >= 9 && cache.tokens(0)[0] === ids(5)[0])
        return Promise.reject(new Error('this row breaks'));
      return step(cache, chunk, given);
    });
    const runs = [small.generate(ids(5), options), small.generate(ids(5, 1), options)];
    const [a, b] = await Promise.allSettled(runs.map((run) => run.result()));
    expect(a).toMatchObject({ status: 'rejected', reason: { message: 'this row breaks' } });
    expect(runs[0].partial!.tokens.length).toBeGreaterThan(3);
    expect(b.status === 'fulfilled' && tokensOf(b.value)).toEqual(alone);
  });
});

describe('prompts beside sequences that decode', () => {
  it('are read in short chunks, and alone in long ones', async () => {
    const steps = watchSteps(small);
    const cache = { policy: 'dense', cacheLength: 1000 };
    await small.generate(ids(600), { cache, maxNewTokens: 1 }).result();
    expect(steps.map(([length]) => length)).toEqual([512, 88, 1].slice(0, steps.length));
    steps.length = 0;
    // It decodes until the prompt is read, however many steps that takes.
    const { signal, abort } = abortable();
    const busy = small.generate(ids(5), { cache, maxNewTokens: 900, eosTokenIds: [], signal }).result();
    await small.generate(ids(300, 1), { cache, maxNewTokens: 1 }).result();
    abort();
    await expect(busy).rejects.toThrow('enough');
    const chunks = steps.filter((rows) => rows.length === 1 && rows[0] > 1 && rows[0] !== 5).map(([length]) => length);
    expect(Math.max(...chunks)).toBeLessThanOrEqual(64);
    // A step of the other one after each chunk.
    const at = steps.findIndex(([length]) => length === chunks[1]);
    expect(steps[at + 1]).toEqual([1]);
  });

  it('are read whole where they are short, also those whose beginning their cache has', async () => {
    const cache = small.createCache({ policy: 'dense', cacheLength: 1000 });
    await small.generate(ids(300, 1), { cache, maxNewTokens: 1 }).result();
    const { signal, abort } = abortable();
    const busy = small.generate(ids(5), { cache: { policy: 'dense' }, maxNewTokens: 900, eosTokenIds: [], signal });
    const ended = busy.result();
    const steps = watchSteps(small);
    await Promise.all([
      ...[40, 50, 60].map((length) => small.generate(ids(length, length), { maxNewTokens: 1 }).result()),
      small.generate([...ids(300, 1), ...ids(20, 2)], { cache, reusePrefix: true, maxNewTokens: 1 }).result(),
    ]);
    abort();
    await expect(ended).rejects.toThrow('enough');
    const chunks = steps.filter((rows) => rows.length === 1 && rows[0] > 5).map(([length]) => length);
    expect(chunks.sort((a, b) => a - b)).toEqual([20, 40, 50, 60]);
  });

  it('keep their chunks where these change the result', async () => {
    for (const cache of [
      { policy: 'lastrec', cacheLength: 40 },
      { policy: 'dense', buffer: 'int8' },
    ] as const) {
      const options = { cache, maxNewTokens: 12, eosTokenIds: [] };
      const alone = tokensOf(await small.generate(ids(110, 1), options).result());
      const steps = watchSteps(small);
      const busy = small.generate(ids(5), { maxNewTokens: 40, eosTokenIds: [] }).result();
      const beside = await small.generate(ids(110, 1), options).result();
      await busy;
      expect(steps.map(([length]) => length).filter((length) => length > 5)).toEqual([64, 46]);
      expect(tokensOf(beside)).toEqual(alone);
      vi.restoreAllMocks();
    }
  });
});

describe('a sequence that is not read', () => {
  it('gives its row back, so that others do not pay for it, and goes on where it was', async () => {
    const options = { maxNewTokens: 30, eosTokenIds: [] };
    const wanted = await tiny.generate('In the beginning', options).text();
    const steps = watchSteps(tiny);
    const slow = tiny.generate('In the beginning', options)[Symbol.asyncIterator]();
    let text = (await slow.next()).value!.text;
    const [next] = await Promise.all([slow.next(), tiny.generate('And Moses said', options).result()]);
    text += next.value!.text;
    steps.length = 0;
    await tiny.generate('And Moses said', options).result();
    expect(steps.filter((rows) => rows.length === 2).length).toBeLessThan(6);
    expect(steps.filter((rows) => rows.length === 1).length).toBeGreaterThan(20);
    await Promise.all([
      (async () => {
        for (let step = await slow.next(); !step.done; step = await slow.next()) text += step.value.text;
      })(),
      tiny.generate('And Moses said', options).result(),
    ]);
    expect(text).toBe(wanted);
  });
});
