import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_BUFFERS,
  anyRun,
  check,
  checkCache,
  contentOf,
  EVICTING,
  expectSame,
  openRun,
  stepTokens,
  tokensFrom,
} from '../../../test/support/cache-runs.ts';
import { fakeStep } from '../../../test/support/fake-graph.ts';
import { FakeModel, fakeRotation, fakeShape } from '../../../test/support/fake-model.ts';
import type { RopeSpec } from '../../config/config.ts';
import { RopeTable, ropeFrequencies } from '../../step/rope.ts';
import { InputError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { KVCache } from '../kv-cache.ts';
import { createCache } from '../policies.ts';
import { turnKey } from '../shape.ts';

/** The places of what a layer holds, in the order of positions. */
function placesOf(cache: KVCache, l: number, row: number, group: number): number[] {
  const table = cache.store.tableOf(l)!;
  const at = table.positions.at(row, table.groups === 1 ? 0 : group);
  const slots = range(table.filled[table.groupIndex(row, table.groups === 1 ? 0 : group)]);
  const position = (slot: number) => table.positions.data[at + slot];
  return slots
    .sort((a, b) => position(a) - position(b))
    .map((slot) => table.ropePosition(row, table.groups === 1 ? 0 : group, slot));
}

/** Checks that every key is the one that its place makes. */
function checkKeys(model: FakeModel, cache: KVCache, row: number): void {
  const tokens = cache.tokens(row);
  for (const l of range(model.shape.nLayer))
    for (const g of range(model.shape.nQueryGroups)) {
      const places = placesOf(cache, l, row, g);
      const { merges } = cache.store.tableOf(l)!;
      for (const [i, position] of cache.tokenPositions(l, row, g).entries()) {
        // Of several tokens the key is that of none of them.
        if (merges[g] && cache.scores(l, row, g)![i] > 0) continue;
        const { key } = cache.slot(l, position, row, g)!;
        const wanted = model.key(l, g, position, tokens[position], places[i]);
        for (const [d, x] of key.entries())
          if (!(Math.abs(x - wanted[d]) < 1e-5)) expect.fail(`layer ${l}, position ${position} at ${places[i]}: ${x}`);
      }
    }
}

describe('rebase', () => {
  it('moves what is held side by side: in its order, sinks first, with the keys of their new places', () => {
    check(
      fc.property(anyRun({ rows: 2, steps: 8 }), fc.constantFrom(...EVICTING), fc.nat(1), (run, policy, r) => {
        const { model, cache } = openRun(
          { ...run, buffer: 'float32' },
          { ...policy, lossy: false, ...exact(policy.name) },
        );
        for (const step of run.steps) fakeStep(model, cache, stepTokens(cache, step), step);
        const row = r % run.rows;
        const others = contentOf(cache).filter((_, i) => i !== row);
        const [length, tokens] = [cache.length(row), cache.tokens(row)];
        cache.rebase(row);
        const next = cache.ropePosition(row);
        let most = 0;
        for (const l of range(model.shape.nLayer))
          for (const g of range(model.shape.nQueryGroups)) {
            const positions = cache.tokenPositions(l, row, g);
            const places = placesOf(cache, l, row, g);
            most = Math.max(most, places.length);
            const sinks = positions.filter((position) => position < cache.rules.sinks).length;
            // Sinks at the start; the rest without gaps up to the next token.
            expect(places).toEqual(range(places.length).map((i) => (i < sinks ? i : next - places.length + i)));
          }
        expect(next).toBe(most);
        expect([cache.length(row), cache.tokens(row)]).toEqual([length, tokens]);
        expectSame(
          contentOf(cache).filter((_, i) => i !== row),
          others,
        );
        checkKeys(model, cache, row);
        // The sequence goes on from there, and may be moved again.
        for (const count of [1, 5]) {
          fakeStep(
            model,
            cache,
            range(run.rows).map((one) => tokensFrom(one, cache.length(one), count)),
          );
          checkKeys(model, cache, row);
          checkCache(model, cache, { moved: true });
        }
        expect(cache.ropePosition(row)).toBe(next + 6);
        cache.rebase(row);
        checkKeys(model, cache, row);
        if (cache.rules.scoredByLater) expect(() => cache.truncate(length, row)).toThrow(InputError);
      }),
      150,
    );
  });

  /** Quantized slots are for another test. */
  function exact(name: string) {
    return name.includes('qh2o') ? { options: { policy: 'h2o' } } : {};
  }

  it('trap 8: keeps distances within a window, whatever other layers hold', () => {
    const rotation = fakeRotation(4);
    const shape = fakeShape({ windows: [null, 6], groups: 1, heads: 1, headSize: 4, rotation });
    const cache = createCache(shape, { policy: 'lastrec', cacheLength: 12, sinks: 4 });
    const model = new FakeModel(shape, 1);
    fakeStep(model, cache, [tokensFrom(0, 0, 40)]);
    cache.rebase();
    expect(cache.ropePosition()).toBe(12);
    expect(placesOf(cache, 0, 0, 0)).toEqual(range(12));
    // The window holds the newest 5, the next token still sees them as the nearest.
    expect(cache.tokenPositions(1)).toEqual([35, 36, 37, 38, 39]);
    expect(placesOf(cache, 1, 0, 0)).toEqual([7, 8, 9, 10, 11]);
    checkKeys(model, cache, 0);
  });

  it.each(ALL_BUFFERS)('turns keys in %s within what the buffer loses', (buffer) => {
    const shape = fakeShape({ windows: [null], groups: 2, heads: 1, headSize: 8, rotation: fakeRotation(8, true) });
    const cache = createCache(shape, { policy: 'lastrec', cacheLength: 10, buffer });
    const model = new FakeModel(shape, 1);
    fakeStep(model, cache, [tokensFrom(0, 0, 30)]);
    const values = cache.tokenPositions(0).map((position) => cache.slot(0, position)!.value);
    cache.rebase();
    const tokens = cache.tokens();
    const bound = {
      float32: 1e-5,
      float16: 3e-3,
      int8: 5e-2,
      int5: 0.4,
      int4: 0.9,
      'int8-plain': 3e-2,
      'int4-plain': 0.5,
    }[buffer];
    for (const [place, position] of cache.tokenPositions(0).entries()) {
      const { key, value } = cache.slot(0, position)!;
      const wanted = model.key(0, 0, position, tokens[position], place);
      for (const [d, x] of key.entries()) expect(Math.abs(x - wanted[d])).toBeLessThan(bound);
      for (const [d, x] of value.entries()) expect(x).toBe(values[place][d]);
    }
  });

  it('takes back a chunk that came after it, not one before', () => {
    const shape = fakeShape({ windows: [null], groups: 1, heads: 1, headSize: 4, rotation: fakeRotation(4) });
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 8 });
    const model = new FakeModel(shape, 1);
    const feed = (count: number) => fakeStep(model, cache, [tokensFrom(0, cache.length(), count)]);
    feed(20);
    cache.rebase();
    expect(() => cache.truncate(0)).toThrow(InputError);
    const before = contentOf(cache);
    feed(5);
    cache.truncate(20);
    expectSame(contentOf(cache), before);
    expect(cache.ropePosition()).toBe(8);
  });

  it('of a row that holds all it has seen changes nothing; nor does that of an empty one', () => {
    const shape = fakeShape({ windows: [null], groups: 1, heads: 1, headSize: 4, rotation: fakeRotation(4) });
    const cache = createCache(shape, { policy: 'lastrec', cacheLength: 8, batch: 2 });
    fakeStep(new FakeModel(shape, 1), cache, [tokensFrom(0, 0, 6), []]);
    const before = contentOf(cache);
    cache.rebase(0);
    cache.rebase(1);
    expectSame(contentOf(cache), before);
  });

  it('refuses models whose keys can not be moved', () => {
    for (const rotations of [['varies'], [null, 'varies']] as const) {
      const shape = fakeShape({ windows: rotations.map(() => null), groups: 1, heads: 1, headSize: 4 });
      const layers = shape.layers.map((layer, l) => ({ ...layer, rotation: rotations[l] }));
      const cache = createCache({ ...shape, layers }, { policy: 'lastrec', cacheLength: 8 });
      expect(cache.canRebase).toBe(false);
      expect(() => cache.rebase()).toThrow(InputError);
      expect(() => cache.rebase()).toThrow(/this model's keys can't be moved/);
    }
  });

  it('is done in time, and only where it helps', () => {
    const shape = fakeShape({ windows: [null], groups: 1, heads: 1, headSize: 4, rotation: fakeRotation(4) });
    const model = new FakeModel(shape, 1);
    const places = (options: object, ...counts: number[]) => {
      const cache = createCache(shape, { policy: 'lastrec', cacheLength: 8, ...options });
      return counts.map((count) => {
        cache.fitPositions(0, count, 20);
        fakeStep(model, cache, [tokensFrom(0, cache.length(), count)]);
        return cache.ropePosition();
      });
    };
    expect(places({}, 10, 10, 1, 11, 1, 1)).toEqual([10, 20, 9, 20, 9, 10]);
    // A chunk too long even then goes on as it is.
    expect(places({}, 15, 13, 12)).toEqual([15, 28, 20]);
    expect(places({ rebase: false }, 10, 10, 1)).toEqual([10, 20, 21]);
    expect(places({ policy: 'dense', cacheLength: 50 }, 10, 10, 1)).toEqual([10, 20, 21]);
  });
});

describe('a key that is turned', () => {
  const plain: RopeSpec = { base: 10_000, nElem: 32, interleave: false, scaling: { type: 'none' } };
  const yarn: RopeSpec = {
    ...plain,
    scaling: {
      type: 'yarn',
      factor: 4,
      betaFast: 32,
      betaSlow: 1,
      origMaxSeq: 512,
      attentionFactor: 1.1,
      truncate: true,
    },
  };
  const kinds: [string, RopeSpec][] = [
    ['plain', plain],
    ['interleaved', { ...plain, interleave: true, nElem: 20 }],
    ['YaRN', yarn],
    ['linear', { ...plain, base: 500_000, scaling: { type: 'linear', factor: 3 } }],
  ];

  /** What the model makes of a key at a place. */
  function rotated(rope: RopeSpec, key: Float32Array, place: number): Float32Array {
    const table = new RopeTable(rope);
    const [cos, sin] = [new Float32Array(table.pairs), new Float32Array(table.pairs)];
    table.write(cos, sin, 0, place, place + 1);
    const out = key.slice();
    for (const i of range(table.pairs)) {
      const [a, b] = rope.interleave ? [2 * i, 2 * i + 1] : [i, i + table.pairs];
      out[a] = key[a] * cos[i] - key[b] * sin[i];
      out[b] = key[b] * cos[i] + key[a] * sin[i];
    }
    return out;
  }

  it.each(kinds)('is the one that the model would have made at that place, however far: %s', (_, rope) => {
    const rotation = { ...ropeFrequencies(rope, 0), interleave: rope.interleave };
    fc.assert(
      fc.property(
        fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: 40, maxLength: 40 }),
        fc.nat(130_000),
        fc.nat(4096),
        (numbers, from, to) => {
          const plainKey = Float32Array.from(numbers);
          const key = rotated(rope, plainKey, from);
          turnKey(key, rotation, from, to);
          const wanted = rotated(rope, plainKey, to);
          for (const [i, x] of key.entries()) expect(Math.abs(x - wanted[i])).toBeLessThan(1e-6);
        },
      ),
      { numRuns: 200, seed: 1 },
    );
  });
});
