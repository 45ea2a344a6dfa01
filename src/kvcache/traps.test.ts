/**
 * The known traps of docs/policies.md, one by one: each was a defect of some library. (What needs a model is in
 * model/cache-model.test.ts; buffers, rebasing, and policies of one's own have theirs beside them.)
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_BUFFERS,
  anyRun,
  cacheOptions,
  check,
  checkCache,
  contentOf,
  EVICTING,
  expectSame,
  openRun,
  same,
  stepTokens,
  type TestPolicy,
  tokensFrom,
} from '../../test/support/cache-runs.ts';
import { fakeChunk, fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, type FakeQuirks, fakeShape } from '../../test/support/fake-model.ts';
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import { createBuffer } from './buffers.ts';
import type { KVCache } from './kv-cache.ts';
import { type AnyCacheOptions, createCache } from './policies.ts';
import { definePolicy } from './policy/define-policy.ts';
import type { ChunkOutputs } from './rows/chunk.ts';

// Those take other options than sinks and recent tokens.
const named = EVICTING.filter(({ name }) => !name.startsWith('routed')).map((policy) => [policy.name, policy] as const);
const scored = named.filter(([name]) => !['lastrec', 'merge'].includes(name));

/** A cache of one layer and a model for it, with the tests' usual options. */
function open(
  policy: TestPolicy,
  cacheLength: number,
  quirks: FakeQuirks = {},
  more: Partial<AnyCacheOptions> = {},
  windows: (number | null)[] = [null],
) {
  const shape = fakeShape({ windows, groups: 2, heads: 2, headSize: 4 });
  const run = {
    seed: 7,
    shape: { windows, groups: 2, heads: 2, headSize: 4 },
    cacheLength,
    buffer: 'float32',
    growth: 4,
    rows: 1,
    steps: [],
  } as const;
  const { recent, ...others } = more;
  const cache = createCache(
    shape,
    cacheOptions(run, policy, ['lastrec', 'merge'].includes(policy.name) ? others : more),
    run.growth,
  );
  return { cache, model: new FakeModel(shape, 7, quirks) };
}

function feed(model: FakeModel, cache: KVCache, count: number, phase: ChunkOutputs['phase'] = 'decode') {
  return fakeStep(model, cache, [tokensFrom(0, cache.length(), count)], { phase });
}

const CONSTANT: FakeQuirks = { keys: 'constant', queries: 'zero', values: 'signs' };

describe('trap 1: a new token that competes at once is evicted first for ever', () => {
  it.each(named)('%s keeps the newest token, and later ones enter too', (_, policy) => {
    for (const quirks of [{}, CONSTANT]) {
      const { cache, model } = open(policy, 6, quirks, { sinks: 1, recent: 2 });
      feed(model, cache, 6, 'prompt-end');
      for (let step = 0; step < 30; step++) {
        feed(model, cache, 1);
        const now = cache.length() - 1;
        for (const g of [0, 1]) expect(cache.tokenPositions(0, 0, g).slice(-2)).toEqual([now - 1, now]);
      }
    }
  });

  it('recent is at least 1, and by default an eighth of the budget', () => {
    for (const [, policy] of scored) {
      if (policy.name.startsWith('own keep')) continue;
      expect(() => open(policy, 8, {}, { recent: 0 })).toThrow(InputError);
      expect(() => open(policy, 8, {}, { recent: 0 })).toThrow(/recent must be a whole number of at least 1/);
    }
    const { cache, model } = open({ name: 'h2o', options: { policy: 'h2o' } }, 32, {}, { sinks: 0 });
    feed(model, cache, 100);
    expect(cache.tokenPositions(0).slice(-4)).toEqual([96, 97, 98, 99]);
  });
});

describe('trap 2: scores move with their slots, and a slot that is overwritten starts anew', () => {
  it('every number of a slot is its own token’s, wherever it lies', () => {
    const marked = definePolicy({
      name: 'marked',
      needs: ['sums'],
      slotState: 3,
      score: ({ index, slotState: columns, positions, weights: [sums], held, length }) => {
        for (let j = held; j < length; j++) {
          // A new token starts with 0.
          if (columns.some((column) => column[j] !== 0)) expect.fail(`position ${positions[j]} starts with a number`);
          columns[1][j] = positions[j] + 0.5;
        }
        for (let j = 0; j < length; j++) {
          if (columns[1][j] !== positions[j] + 0.5)
            expect.fail(`position ${positions[j]} has the number of ${columns[1][j]}`);
          columns[0][j] += sums[j];
          columns[2][j]++;
        }
        // In no order of positions, so that slots are filled here and there.
        return Array.from({ length }, (_, j) => (positions[j] * 7919 + index * 37) % 101);
      },
    });
    check(
      fc.property(anyRun({ rows: 2 }), (run) => {
        const { model, cache } = openRun(run, {
          name: 'marked',
          options: { policy: marked, ada: run.seed % 2 === 0 },
          safe: true,
        });
        for (const step of run.steps) {
          fakeStep(model, cache, stepTokens(cache, step), step);
          checkCache(model, cache);
        }
      }),
      100,
    );
  });

  it('a score is what was paid since its token came, in slots that were used before', () => {
    // Every query pays so much to each slot that it sees, whatever the others: hand-made weights.
    const { cache, model } = open(
      { name: 'h2o', options: { policy: 'h2o', normalize: false } },
      5,
      {},
      { sinks: 0, recent: 3 },
    );
    let step = 0;
    const pay = (count: number, amount: (position: number) => number) => {
      const { chunk } = fakeChunk(model, cache, [tokensFrom(0, cache.length(), count)]);
      const table = cache.store.tables.get('0')!;
      const columns = table.capacity + count;
      const weights = chunk.observed!.reduced.sum!.weights.get('0')!;
      for (const g of [0, 1]) {
        for (let slot = 0; slot < table.filled[g]; slot++)
          weights[g * columns + slot] = amount(table.positions.data[table.positions.at(0, g, slot)]);
        for (let t = 0; t < count; t++) weights[g * columns + table.capacity + t] = amount(cache.length() + t);
      }
      cache.append(chunk);
      step++;
    };
    const paid = (position: number) => 1 + ((position * 13) % 5);
    for (let i = 0; i < 12; i++) pay(1, paid);
    for (const [i, position] of cache.tokenPositions(0).entries())
      expect(cache.scores(0)![i]).toBe(paid(position) * (step - position));
  });
});

describe('trap 3: ties need an order, constants no division by zero, and age is no merit', () => {
  it.each(scored)('%s keeps the younger of equal tokens, in any group, by any chunk', (name, policy) => {
    if (name.startsWith('own keep')) return;
    for (const chunks of [range(30).map(() => 1), [10, 10, 10], [7, 1, 9, 2, 11]]) {
      const lossy = { buffer: policy.lossy ? ('int8' as const) : ('float32' as const) };
      const { cache, model } = open(policy, 8, CONSTANT, { sinks: 2, recent: 2, ...lossy });
      for (const count of chunks) feed(model, cache, count, 'prompt');
      const positions = cache.tokenPositions(0);
      const scores = cache.scores(0);
      if (!/pyramid|ada|shared|own budgets/.test(name)) expect(positions.length).toBe(8);
      expect(scores!.every(Number.isFinite)).toBe(true);
      // What never changes is equal for ever.
      if (/^(knorm|keydiff|expected)$/.test(name)) expect(positions).toEqual([0, 1, 24, 25, 26, 27, 28, 29]);
      const twin = open(policy, 8, CONSTANT, { sinks: 2, recent: 2, ...lossy }).cache;
      for (const count of chunks) feed(model, twin, count, 'prompt');
      expectSame(contentOf(twin), contentOf(cache));
    }
  });

  it.each(scored)('%s: keys of zeros have a score too', (name, policy) => {
    if (name.startsWith('own keep')) return;
    const lossy = { buffer: policy.lossy ? ('int8' as const) : ('float32' as const) };
    const { cache, model } = open(policy, 8, { ...CONSTANT, keys: 'zero' }, { sinks: 2, recent: 2, ...lossy });
    for (const count of [10, 1, 5]) feed(model, cache, count, 'prompt');
    expect(cache.scores(0)!.every(Number.isFinite)).toBe(true);
    if (/^(knorm|keydiff|expected)$/.test(name))
      expect(cache.tokenPositions(0)).toEqual([0, 1, 10, 11, 12, 13, 14, 15]);
  });

  it('tova and snapkv, which see all as equal at once, keep the youngest', () => {
    for (const policy of ['tova', 'snapkv']) {
      const { cache, model } = open({ name: policy, options: { policy } }, 8, CONSTANT, {
        sinks: 2,
        ...(policy === 'snapkv' ? { window: 2, kernel: 1 } : {}),
      });
      feed(model, cache, 20, 'prompt');
      feed(model, cache, 2, 'prompt-end');
      // Of the last two queries both see the first twenty alike.
      expect(cache.tokenPositions(0)).toEqual([0, 1, 16, 17, 18, 19, 20, 21]);
    }
  });

  it('groups that share, and pay the same, keep the younger, and then the lower group’s', () => {
    const flat = definePolicy({ name: 'flat', score: () => undefined });
    const { cache, model } = open(
      { name: 'flat', options: { policy: flat, ada: { floor: 0 } } },
      5,
      {},
      { sinks: 0, recent: 1 },
    );
    feed(model, cache, 6);
    // Twelve candidates for ten slots.
    expect([0, 1].map((g) => cache.tokenPositions(0, 0, g))).toEqual([range(6).slice(1), range(6).slice(1)]);
    feed(model, cache, 1);
    expect([0, 1].map((g) => cache.tokenPositions(0, 0, g))).toEqual([range(7).slice(2), range(7).slice(2)]);
    const odd = definePolicy({
      name: 'odd',
      score: ({ index, length, positions }) => range(length).map((j) => (index === 1 && positions[j] === 0 ? 1 : 0)),
    });
    const other = open({ name: 'odd', options: { policy: odd, ada: { floor: 0 } } }, 5, {}, { sinks: 0, recent: 1 });
    feed(other.model, other.cache, 6);
    // One of group 1 is worth more; of the eleven equal ones the oldest goes, and then group 1's next.
    expect([0, 1].map((g) => other.cache.tokenPositions(0, 0, g))).toEqual([
      [1, 2, 3, 4, 5],
      [0, 2, 3, 4, 5],
    ]);
  });

  it('h2o: what all queries pay alike is no reason to stay, unless scores are summed as published', () => {
    const hold = (normalize: boolean) => {
      const { cache, model } = open(
        { name: 'h2o', options: { policy: 'h2o', normalize } },
        8,
        {},
        { sinks: 0, recent: 2 },
      );
      for (let i = 0; i < 40; i++) {
        const { chunk } = fakeChunk(model, cache, [tokensFrom(0, cache.length(), 1)]);
        // Every query pays the same to whatever there is.
        chunk.observed!.reduced.sum!.weights.get('0')!.fill(0.25);
        cache.append(chunk);
      }
      return cache.tokenPositions(0);
    };
    expect(hold(true)).toEqual(range(40).slice(-8));
    expect(hold(false)).toEqual([0, 1, 2, 3, 4, 5, 38, 39]);
  });
});

describe('trap 4: nothing is too short or too long', () => {
  it.each(named)('%s: prompts shorter than sinks and window, chunks longer than the cache', (name, policy) => {
    const { cache, model } = open(
      policy,
      8,
      {},
      { sinks: 4, recent: 3, ...(/snapkv|pyramid/.test(name) ? { window: 4 } : {}) },
    );
    feed(model, cache, 1, 'prompt-end');
    expect(cache.tokenPositions(0)).toEqual([0]);
    feed(model, cache, 2);
    expect(cache.tokenPositions(0, 0, 1)).toEqual([0, 1, 2]);
    feed(model, cache, 50, 'prompt');
    checkCache(model, cache);
    const positions = cache.tokenPositions(0);
    expect(positions.length).toBeGreaterThan(name === 'own keep of few' ? 5 : 6);
    expect(positions.slice(0, 4)).toEqual([0, 1, 2, 3]);
    expect(positions.slice(-3)).toEqual([50, 51, 52]);
    feed(model, cache, 1);
    checkCache(model, cache);
  });

  it.each(named)('%s: a cacheLength of 1, and of 2', (name, policy) => {
    for (const cacheLength of [1, 2])
      for (const chunk of [1, 7]) {
        const { cache, model } = open(policy, cacheLength, {}, {}, [null, 3]);
        for (let i = 0; i < 5; i++) feed(model, cache, chunk, i < 2 ? 'prompt' : 'decode');
        const now = 5 * chunk - 1;
        for (const l of [0, 1])
          for (const g of [0, 1]) {
            const positions = cache.tokenPositions(l, 0, g);
            expect(positions.at(-1)).toBe(now);
            if (!/pyramid|ada|shared|own budgets/.test(name)) expect(positions.length).toBeLessThanOrEqual(cacheLength);
          }
        checkCache(model, cache);
      }
  });

  it('dense: a chunk that does not fit is refused as a whole, before it is computed', () => {
    const { cache, model } = open({ name: 'dense', options: { policy: 'dense' } }, 8);
    feed(model, cache, 5);
    const before = contentOf(cache);
    expect(() => feed(model, cache, 4)).toThrow(/holds 5 of 8 tokens and can't take 4 more/);
    // Nor can it be passed by.
    const { chunk } = fakeChunk(model, cache, [tokensFrom(0, 5, 4)]);
    expect(() => cache.append(chunk)).toThrow(/can't take 4 more/);
    expectSame(contentOf(cache), before);
    feed(model, cache, 3);
    expect(cache.length()).toBe(8);
  });
});

describe('trap 5: a position is never derived from the number of slots held', () => {
  it.each(named)('%s: tokens go on where the sequence is, not where the slots end', (_, policy) => {
    const { cache, model } = open(policy, 5, {}, { sinks: 1, recent: 1 });
    for (const count of [9, 1, 1, 4, 1]) {
      const length = cache.length();
      feed(model, cache, count);
      expect(cache.length()).toBe(length + count);
      expect(cache.ropePosition()).toBe(length + count);
      for (const g of [0, 1]) {
        expect(cache.tokenPositions(0, 0, g).at(-1)).toBe(length + count - 1);
        expect(cache.tokenPositions(0, 0, g)[0]).toBe(0);
      }
      // The keys are those of these positions.
      checkCache(model, cache);
    }
  });
});

describe('trap 6: padding enters neither scores nor slots', () => {
  it.each(named)('%s: rows of different lengths are as if alone; the padding is not a number', (_, policy) => {
    check(
      fc.property(anyRun({ rows: 3, buffers: ALL_BUFFERS, steps: 5 }), (run) => {
        const { model, cache } = openRun({ ...run, rows: 3 }, policy);
        const alone = range(3).map(() => createCache(model.shape, cacheOptions({ ...run, rows: 1 }, policy)));
        for (const { lengths, phase } of run.steps) {
          // The first row sets the length of the chunk, the others are padded.
          const counts = [14, lengths[0], lengths[0] % 3];
          fakeStep(model, cache, stepTokens(cache, { lengths: counts, phase }), { phase });
          for (const [row, count] of counts.entries())
            if (count > 0) fakeStep(model, alone[row], [tokensFrom(row, alone[row].length(), count)], { phase });
        }
        expectSame(
          alone.map((one) => contentOf(one)[0]),
          contentOf(cache),
        );
      }),
      8,
    );
  });
});

describe('trap 7: what is stored is quantized at once, and only that', () => {
  it.each(['float16', 'int8', 'int4'] as const)(
    '%s: slots hold what the buffer makes of the exact key, from the first moment',
    (buffer) => {
      const shape = fakeShape({ windows: [null, null], groups: 2, heads: 1, headSize: 64 });
      const model = new FakeModel(shape, 1);
      const cache = createCache(shape, { policy: 'h2o', cacheLength: 6, buffer });
      const probe = createBuffer(buffer, 1, { groups: 1, keySize: 64, valueSize: 64 });
      const wanted = new Float32Array(64);
      for (const count of [4, 1, 9, 1]) {
        const tokens = tokensFrom(0, cache.length(), count);
        const first = cache.length();
        fakeStep(model, cache, [tokens]);
        for (const l of [0, 1])
          for (const position of cache.tokenPositions(l)) {
            if (position < first) continue;
            probe.keys.preview(0, model.key(l, 0, position, tokens[position - first]), 0, wanted);
            expect(same(cache.slot(l, position)!.key, wanted)).toBe(true);
          }
        // Those that stay are not quantized again.
        checkCache(model, cache);
      }
    },
  );

  it('a slot that moves, or is restored, is not quantized once more', () => {
    check(
      fc.property(anyRun({ buffers: ['int8', 'int4', 'float16'] }), fc.constantFrom(...EVICTING), (run, policy) => {
        const { model, cache } = openRun(run, policy);
        for (const step of run.steps) {
          fakeStep(model, cache, stepTokens(cache, step), step);
          const length = cache.length();
          feed(model, cache, 3);
          cache.truncate(length);
        }
        checkCache(model, cache);
      }),
      60,
    );
  });
});

describe('trap 8: layers with a sliding window see positions, not slots', () => {
  it('hold no more than the window, and forget by position even where slots are few', () => {
    const first = definePolicy({
      name: 'first',
      keep: ({ positions, length }) => range(length).filter((j) => positions[j] < 2),
    });
    const { cache, model } = open({ name: 'first', options: { policy: first } }, 4, {}, { recent: 1 }, [6, null]);
    feed(model, cache, 3);
    const seen: number[][] = [];
    for (let i = 0; i < 6; i++) {
      feed(model, cache, 1);
      seen.push(cache.tokenPositions(0));
    }
    // The next query at position 6 sees 1 … 6, the one after it 2 … 7: what is hidden goes, though there are free
    // slots.
    expect(seen).toEqual([[0, 1, 2, 3], [0, 1, 4], [1, 4, 5], [4, 5, 6], [4, 5, 6, 7], [8]]);
    expect(cache.tokenPositions(1).slice(0, 2)).toEqual([0, 1]);
  });

  it.each(named)('%s: never more than the window shows to the next query', (_, policy) => {
    for (const window of [1, 2, 5])
      for (const chunk of [1, 3, 8]) {
        const { cache, model } = open(policy, 20, {}, {}, [window, null]);
        for (let i = 0; i < 6; i++) {
          feed(model, cache, chunk);
          const length = cache.length();
          const positions = cache.tokenPositions(0);
          expect(positions.every((position) => position > length - window)).toBe(true);
          expect(positions.length).toBeLessThan(Math.max(1.5, window));
        }
        // What the window hides was not lost.
        expect(cache.store.tableOf(0)!.evicted[0]).toBe(0);
      }
  });
});
