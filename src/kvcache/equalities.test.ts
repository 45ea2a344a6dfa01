import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_BUFFERS,
  anyRun,
  cacheOptions,
  check,
  checkCache,
  contentOf,
  EVERY,
  EVICTING,
  expectSame,
  openRun,
  type Run,
  type RunStep,
  same,
  stepTokens,
  type TestPolicy,
  tokensFrom,
} from '../../test/support/cache-runs.ts';
import { type FakeStepOptions, fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../test/support/fake-model.ts';
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import type { KVCache } from './kv-cache.ts';
import { createCache } from './policies.ts';
import { definePolicy } from './policy/define-policy.ts';
import { restoreCache, snapshotCache } from './snapshot.ts';

const total = (run: Run, row = 0): number => run.steps.reduce((sum, { lengths }) => sum + lengths[row], 0);

/** Runs a step with the tokens that come next. */
function go(model: FakeModel, cache: KVCache, step: RunStep, options: FakeStepOptions = {}) {
  return fakeStep(model, cache, stepTokens(cache, step), { phase: step.phase, ...options });
}

/** All numbers of a step's outputs. */
const flat = (outputs: ReturnType<typeof fakeStep>): number[] => outputs.flat(3).flatMap((y) => Array.from(y));

describe('as long as all fits in a cache', () => {
  it.each(EVERY.map((policy) => [policy.name, policy] as const))(
    '%s holds all, and attends as dense',
    (name, policy) => {
      check(
        fc.property(anyRun({ rows: 2, buffers: ALL_BUFFERS }), (short) => {
          const longest = Math.max(1, ...range(short.rows).map((row) => total(short, row)));
          const run = { ...short, cacheLength: longest, sinks: undefined, recent: undefined };
          // The thin layers of a pyramid are as wide as the others.
          const { model, cache } = openRun(
            run,
            policy,
            name.includes('pyramid') ? { beta: 1 } : name.startsWith('routed') ? { length: longest } : {},
          );
          // As dense, but keys are rounded in the same way.
          const { feedbackOf } = cache.rules.layout;
          const whole = definePolicy({ name: 'all', evicts: false, slotState: 0, feedbackOf, setup: () => ({}) });
          const dense = createCache(model.shape, {
            policy: whole,
            cacheLength: longest,
            batch: run.rows,
            buffer: cache.buffer,
          });
          for (const step of run.steps) {
            const expected = flat(go(model, dense, step));
            const actual = flat(go(model, cache, step));
            for (const [i, y] of actual.entries())
              if (!(Math.abs(y - expected[i]) < 1e-9)) expect.fail(`${y} instead of ${expected[i]}`);
            for (const l of range(model.shape.nLayer))
              for (const row of range(run.rows)) {
                const { window } = model.shape.layers[l];
                const oldest = window === null ? 0 : cache.length(row) + 1 - window;
                const all = range(cache.length(row)).filter((position) => position >= oldest);
                for (const g of range(model.shape.nQueryGroups)) expectSame(cache.tokenPositions(l, row, g), all);
              }
          }
          expect(cache.stats().evicted).toEqual(range(run.rows).map(() => 0));
          expect(cache.stats().seen).toEqual(range(run.rows).map((row) => total(run, row)));
        }),
        25,
      );
    },
  );
});

describe('every slot of every policy', () => {
  it.each(EVERY.map((policy) => [policy.name, policy] as const))(
    '%s: holds the key and value computed for its position, once, within the budget',
    (_, policy) => {
      check(
        fc.property(anyRun({ rows: 3, buffers: ALL_BUFFERS }), (run) => {
          const longest = Math.max(...range(run.rows).map((row) => total(run, row)));
          const length = policy.name === 'dense' ? { cacheLength: Math.max(1, longest) } : {};
          const { model, cache } = openRun(run, policy, length);
          for (const step of run.steps) {
            go(model, cache, step);
            checkCache(model, cache);
          }
          for (const row of range(run.rows)) {
            const held = cache.stats().held[row] + cache.stats().evicted[row];
            if (model.shape.layers.every(({ window }) => window === null)) expect(held).toBeCloseTo(total(run, row), 9);
          }
        }),
        25,
      );
    },
  );
});

describe('policies that are another in disguise', () => {
  /** Runs two policies side by side, and compares what they hold. */
  function sideBySide(run: Run, a: TestPolicy, b: TestPolicy, scale: number, quirks = {}): void {
    const shape = fakeShape(run.shape);
    const model = new FakeModel(shape, run.seed, quirks);
    const [x, y] = [a, b].map((policy) => createCache(shape, cacheOptions(run, policy)));
    for (const step of run.steps) {
      go(model, x, step);
      go(model, y, step);
      for (const l of range(shape.nLayer))
        for (const g of range(shape.nQueryGroups)) {
          expectSame(y.tokenPositions(l, 0, g), x.tokenPositions(l, 0, g));
          expectSame(
            y.scores(l, 0, g),
            x.scores(l, 0, g)!.map((score) => scale * score),
          );
        }
    }
  }

  it.each([true, false])(
    'h2o-vlen is h2o, up to scale, where all values have the same norm (normalize: %s)',
    (normalize) => {
      check(
        fc.property(anyRun({ headSizes: [4], buffers: ['float32', 'float16', 'int8'] }), (run) => {
          const h2o = { name: 'h2o', options: { policy: 'h2o', normalize }, safe: true };
          const vlen = { name: 'h2o-vlen', options: { policy: 'h2o-vlen', normalize }, safe: true };
          // Values of 1 and -1 survive every buffer, and four of them have the norm 2.
          // In float32, halves, and bytes with scales of their own; a block's scale in float16 is no 1 / 127.
          const plain = { ...run, shape: { ...run.shape, blocks: false } };
          sideBySide(plain, h2o, vlen, 2, { values: 'signs' });
        }),
        60,
      );
    },
  );

  it('qh2o with c = 1 is h2o', () => {
    check(
      fc.property(anyRun({ buffers: ['float16', 'int8', 'int4'] }), (run) => {
        const qh2o = { name: 'qh2o', options: { policy: 'qh2o', c: 1 }, safe: true };
        sideBySide(run, { name: 'h2o', options: { policy: 'h2o' }, safe: true }, qh2o, 1);
      }),
      60,
    );
  });

  it('ada(…) with a floor of 1 is the policy itself', () => {
    check(
      fc.property(anyRun(), (run) => {
        const ada = { name: 'ada', options: { policy: 'h2o', ada: { floor: 1 } }, safe: true };
        sideBySide(run, { name: 'h2o', options: { policy: 'h2o' }, safe: true }, ada, 1);
      }),
      60,
    );
  });

  it('lastrec with chunks of one token is a sliding window', () => {
    check(
      fc.property(anyRun({ windows: false }), (run) => {
        const N = run.cacheLength;
        const lastrec = createCache(fakeShape(run.shape), { policy: 'lastrec', cacheLength: N, sinks: 0 });
        const windows = run.shape.windows.map(() => N + 1);
        const windowed = fakeShape({ ...run.shape, windows });
        const dense = createCache(windowed, { cacheLength: 1000 });
        for (let t = 0; t < total(run); t++) {
          const step = { lengths: [1], phase: 'decode' } as const;
          const a = flat(go(new FakeModel(fakeShape(run.shape), run.seed), lastrec, step));
          const b = flat(go(new FakeModel(windowed, run.seed), dense, step));
          for (const [i, y] of a.entries()) if (!(Math.abs(y - b[i]) < 1e-9)) expect.fail(`${y} instead of ${b[i]}`);
          expect(lastrec.tokenPositions(0)).toEqual(dense.tokenPositions(0));
        }
      }),
      25,
    );
  });
});

describe('what must not matter', () => {
  it.each(EVICTING.map((policy) => [policy.name, policy] as const))('how memory grows, to %s', (_, policy) => {
    check(
      fc.property(anyRun({ rows: 2, steps: 8 }), fc.integer({ min: 1, max: 100 }), (run, growth) => {
        const [a, b] = [openRun(run, policy), openRun({ ...run, growth }, policy)];
        for (const step of run.steps) {
          expectSame(flat(go(b.model, b.cache, step)), flat(go(a.model, a.cache, step)));
          expectSame(contentOf(b.cache), contentOf(a.cache));
        }
      }),
      8,
    );
  });

  it('how a sequence is cut into chunks, to knorm: its scores never change', () => {
    check(
      fc.property(anyRun({ windows: false, buffers: ALL_BUFFERS }), (run) => {
        const policy = { name: 'knorm', options: { policy: 'knorm' }, safe: true };
        const [one, many] = [openRun(run, policy), openRun(run, policy)];
        for (const step of run.steps) {
          go(many.model, many.cache, step);
          for (let t = 0; t < step.lengths[0]; t++) go(one.model, one.cache, { lengths: [1], phase: step.phase });
          for (const l of range(one.model.shape.nLayer))
            for (const g of range(one.model.shape.nQueryGroups))
              expectSame(many.cache.tokenPositions(l, 0, g), one.cache.tokenPositions(l, 0, g));
        }
      }),
      60,
    );
  });

  it('to any policy which rows lie beside a row, and in which order', () => {
    check(
      fc.property(anyRun({ rows: 3, buffers: ALL_BUFFERS }), fc.constantFrom(...EVICTING), (run, policy) => {
        const { model, cache } = openRun(run, policy);
        const alone = range(run.rows).map(() => createCache(model.shape, cacheOptions(run, policy, { batch: 1 })));
        for (const step of run.steps) {
          const outputs = go(model, cache, step);
          for (const [row, count] of step.lengths.entries()) {
            if (count === 0) continue;
            const tokens = tokensFrom(row, alone[row].length(), count);
            const single = fakeStep(model, alone[row], [tokens], step);
            expectSame(
              single.flatMap((rows) => rows[0]),
              outputs.flatMap((rows) => rows[row]),
            );
          }
        }
        expectSame(
          alone.map((one) => contentOf(one)[0]),
          contentOf(cache),
        );
      }),
      80,
    );
  });
});

describe('going on as if nothing had been', () => {
  /** Where a run is interrupted. */
  const interrupted = fc
    .tuple(anyRun({ rows: 2, buffers: ALL_BUFFERS, steps: 8 }), fc.nat(7))
    .map(([run, at]) => ({ run, at: at % run.steps.length }));
  /** A chunk that was not meant: one token, or enough to change all that is held. */
  const junk = (run: Run): RunStep => ({
    lengths: range(run.rows).map((row) => 1 + ((run.seed + row) % (run.cacheLength + 4))),
    phase: 'decode',
  });
  const length = (run: Run, policy: TestPolicy) =>
    policy.name === 'dense' ? { cacheLength: Math.max(...range(run.rows).map((row) => total(run, row))) + 30 } : {};

  /** Runs to the end with an interruption, and without, and compares all that can be told apart. */
  function compare(
    { run, at }: { run: Run; at: number },
    policy: TestPolicy,
    interrupt: (model: FakeModel, cache: KVCache) => KVCache,
  ): void {
    const { model, cache } = openRun(run, policy, length(run, policy));
    const other = openRun(run, policy, length(run, policy)).cache;
    for (const step of run.steps.slice(0, at)) for (const one of [cache, other]) go(model, one, step);
    finish(run.steps.slice(at), model, cache, interrupt(model, other));
  }

  function finish(steps: readonly RunStep[], model: FakeModel, cache: KVCache, again: KVCache): void {
    expectSame(contentOf(again), contentOf(cache));
    for (const step of steps) {
      expectSame(flat(go(model, again, step)), flat(go(model, cache, step)));
      expectSame(contentOf(again), contentOf(cache));
      expect(again.stats()).toMatchObject({ held: cache.stats().held, evicted: cache.stats().evicted });
    }
    checkCache(model, again);
  }

  it.each(EVERY.map((policy) => [policy.name, policy] as const))('%s: fork', (_, policy) => {
    check(
      fc.property(interrupted, (where) =>
        compare(where, policy, (model, cache) => {
          const twin = cache.fork();
          // The original goes another way, and neither sees the other.
          go(model, cache, junk(where.run));
          const before = contentOf(cache);
          const third = twin.fork();
          go(model, third, junk(where.run));
          go(model, cache.fork(), junk(where.run));
          expectSame(contentOf(cache), before);
          return twin;
        }),
      ),
      8,
    );
  });

  it.each(EVERY.map((policy) => [policy.name, policy] as const))(
    '%s: truncate to before the last chunk',
    (_, policy) => {
      check(
        fc.property(interrupted, (where) =>
          compare(where, policy, (model, cache) => {
            const lengths = range(cache.batch).map((row) => cache.length(row));
            go(model, cache, junk(where.run));
            // A fork in between shares its memory.
            cache.fork();
            lengths.forEach((length, row) => {
              cache.truncate(length, row);
            });
            return cache;
          }),
        ),
        8,
      );
    },
  );

  it.each(EVERY.map((policy) => [policy.name, policy] as const))('%s: snapshot and restore', async (_, policy) => {
    await fc.assert(
      fc.asyncProperty(interrupted, async ({ run, at }) => {
        const { model, cache } = openRun(run, policy, length(run, policy));
        for (const step of run.steps.slice(0, at)) go(model, cache, step);
        const { policy: made } = policy.options;
        const bytes = await snapshotCache(cache, 'model');
        const again = await restoreCache(
          bytes,
          cache.shape,
          'model',
          typeof made === 'object' && 'create' in made ? made : undefined,
        );
        finish(run.steps.slice(at), model, cache, again);
      }),
      { numRuns: 6, seed: 1 },
    );
  });

  it.each(EVERY.map((policy) => [policy.name, policy] as const))(
    '%s: truncate to the middle of the last chunk, where its queries were told apart',
    (name, policy) => {
      check(
        fc.property(interrupted, fc.nat(20), ({ run, at }, cut) => {
          const { model, cache } = openRun(run, policy, length(run, policy));
          const short = openRun(run, policy, length(run, policy)).cache;
          for (const step of run.steps.slice(0, at)) for (const one of [cache, short]) go(model, one, step);
          const before = range(run.rows).map((row) => cache.length(row));
          const counts = run.steps[at].lengths.map((length, row) => (cut + row) % (length + 1));
          const eachQuery = { eachQuery: true };
          go(model, cache, run.steps[at], eachQuery);
          const takeBack = () => {
            for (const [row, count] of counts.entries()) cache.truncate(before[row] + count, row);
          };
          const whole = counts.every((count, row) => count === 0 || count === run.steps[at].lengths[row]);
          if (name.includes('expected') && !whole) {
            expect(takeBack).toThrow(InputError);
            return;
          }
          takeBack();
          if (counts.some((count) => count > 0)) go(model, short, { ...run.steps[at], lengths: counts }, eachQuery);
          expectSame(contentOf(cache), contentOf(short));
          checkCache(model, cache);
          expectSame(flat(go(model, cache, junk(run))), flat(go(model, short, junk(run))));
          expectSame(contentOf(cache), contentOf(short));
        }),
        8,
      );
    },
  );

  it.each(ALL_BUFFERS)('slots that a chunk moved, overwrote and freed are what they were: %s', (buffer) => {
    const shape = fakeShape({ windows: [null, null], groups: 2, heads: 1, headSize: 4 });
    const model = new FakeModel(shape, 1);
    // Group 0 keeps what lies last in its slots, group 1 what lies first: 0 to 7 in a row.
    const picky = definePolicy({
      name: 'picky',
      keep: ({ index, length }) => (index === 0 ? range(length).slice(5, 7) : [0, 3]),
    });
    for (const count of [1, 3, 12]) {
      const cache = createCache(shape, { policy: picky, cacheLength: 8, recent: 1, buffer }, 2);
      go(model, cache, { lengths: [8], phase: 'decode' });
      const before = contentOf(cache);
      go(model, cache, { lengths: [count], phase: 'decode' });
      expect(cache.tokenPositions(0, 0, 0)).toEqual([5, 6, 7 + count]);
      expect(cache.tokenPositions(0, 0, 1)).toEqual([0, 3, 7 + count]);
      checkCache(model, cache);
      cache.truncate(8);
      expectSame(contentOf(cache), before);
      checkCache(model, cache);
    }
  });

  it('rows are taken back one by one', () => {
    check(
      fc.property(interrupted, fc.constantFrom(...EVICTING), ({ run, at }, policy) => {
        const { model, cache } = openRun({ ...run, rows: 2 }, policy);
        const steps = run.steps.map(({ lengths, phase }) => ({ lengths: [lengths[0], lengths[1] ?? 2], phase }));
        for (const step of steps.slice(0, at)) go(model, cache, step);
        const before = contentOf(cache);
        const length = cache.length(0);
        go(model, cache, { lengths: [5, 4], phase: 'decode' });
        const after = contentOf(cache);
        // Row 1 goes on; what is kept of row 0's last chunk is still there.
        const alone = fakeStep(model, cache, [[], tokensFrom(1, cache.length(1), 2)]);
        expect(alone.length).toBe(model.shape.nLayer);
        const further = contentOf(cache);
        expectSame(further[0], after[0]);
        cache.truncate(length, 0);
        expectSame(contentOf(cache), [before[0], further[1]]);
      }),
      60,
    );
  });
});

describe('truncate refuses', () => {
  const shape = fakeShape({ windows: [null, 6], groups: 2, heads: 2, headSize: 4 });
  const model = new FakeModel(shape, 1);
  const feed = (cache: KVCache, ...chunks: number[]) => {
    for (const length of chunks) go(model, cache, { lengths: [length], phase: 'decode' });
  };

  it('a part of a chunk whose queries were seen together', () => {
    for (const policy of ['h2o', 'tova', 'snapkv', 'expected', 'ada(h2o)']) {
      const cache = createCache(shape, { policy, cacheLength: 8 });
      feed(cache, 5, 4);
      const before = contentOf(cache);
      expect(() => cache.truncate(7)).toThrow(InputError);
      expect(() => cache.truncate(7)).toThrow(/seen the last chunk's queries together, so only the whole chunk/);
      expectSame(contentOf(cache), before);
      cache.truncate(5);
      expect(cache.length()).toBe(5);
    }
  });

  it('what lies further back under a policy that scores by later tokens', () => {
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 20 });
    feed(cache, 3, 1);
    expect(() => cache.truncate(2)).toThrow(/row 0 can't go back to 2 of 4 tokens: the policy h2o has scored/);
  });

  it('what was evicted, or is hidden by a window that has moved on', () => {
    const lastrec = createCache(shape, { policy: 'lastrec', cacheLength: 8 });
    feed(lastrec, 5, 5, 1);
    expect(() => lastrec.truncate(9)).toThrow(/tokens before it were evicted/);
    const dense = createCache(shape, { cacheLength: 20 });
    feed(dense, 5, 5, 1);
    expect(() => dense.truncate(9)).toThrow(/a sliding window has moved on/);
    expect(() => dense.truncate(12)).toThrow(/has seen 11 tokens, and can't be cut to 12/);
    for (const odd of [-1, 1.5, Number.NaN]) expect(() => dense.truncate(odd)).toThrow(InputError);
  });

  it('the last chunk a second time, and in a fork', () => {
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 8 });
    feed(cache, 5, 5);
    const twin = cache.fork();
    expect(() => twin.truncate(5)).toThrow(InputError);
    cache.truncate(5);
    expect(() => cache.truncate(0)).toThrow(InputError);
  });
});

describe('truncate to further back', () => {
  it('gives what a shorter run would have given, under policies without scores', () => {
    check(
      fc.property(
        anyRun({ windows: false, buffers: ALL_BUFFERS, steps: 6 }),
        fc.constantFrom('dense', 'lastrec', 'knorm', 'keydiff'),
        fc.nat(100),
        (run, name, cut) => {
          const policy = { name, options: { policy: name } };
          const more = { cacheLength: total(run) + 5 };
          const { model, cache } = openRun(run, policy, more);
          const short = openRun(run, policy, more).cache;
          for (const step of run.steps) go(model, cache, step);
          const length = cut % (total(run) + 1);
          cache.truncate(length);
          if (length > 0) fakeStep(model, short, [tokensFrom(0, 0, length)]);
          const step = { lengths: [5], phase: 'decode' } as const;
          const [a, b] = [flat(go(model, cache, step)), flat(go(model, short, step))];
          expect(same(a, b)).toBe(true);
          checkCache(model, cache);
          expect(cache.tokens()).toEqual(short.tokens());
          expect(cache.tokenPositions(0)).toEqual(short.tokenPositions(0));
        },
      ),
      60,
    );
  });
});
