import { describe, expect, it } from 'vitest';
import { fakeShape } from '../../../test/support/fake-model.ts';
import { type AnyCacheOptions, createCache } from '../policies.ts';

const shape = fakeShape({ windows: [null], groups: 2, heads: 1, headSize: 4 });

/** Slots of a group after a step of so many tokens asked for them, with memory that grows by 8 slots. */
function slotsAfter(options: Partial<AnyCacheOptions>, tokens: number): number {
  const cache = createCache(shape, { policy: 'h2o', cacheLength: 20, ...options } as AnyCacheOptions, 8);
  cache.store.open(tokens);
  return [...cache.store.tables.values()][0].capacityOf(0);
}

describe('spare slots', () => {
  it('are there for a chunk that fits into them behind the budget', () => {
    expect(slotsAfter({}, 20)).toBe(20);
    expect(slotsAfter({}, 21)).toBe(24);
    expect(slotsAfter({}, 28)).toBe(32);
  });

  it('are left out where they would not be enough, under a budget in bytes, and of groups that share a budget', () => {
    expect(slotsAfter({}, 29)).toBe(20);
    expect(slotsAfter({ cacheBytes: 1e6 }, 21)).toBe(20);
    expect(slotsAfter({ policy: 'ada(h2o)' }, 100)).toBeLessThanOrEqual(40);
  });

  it('lie in the memory that the budget is in', () => {
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 20 }, 8);
    cache.reserve([100]);
    cache.store.open(20);
    const memory = () => cache.store.buffers.map((buffer) => buffer!.inputs[0].array.data.buffer);
    const before = memory();
    cache.store.open(28);
    expect(cache.store.buffers[0]!.inputs[0].array.capacity).toBe(32);
    expect(memory()).toEqual(before);
    memory().forEach((buffer, i) => {
      expect(buffer).toBe(before[i]);
    });
  });

  it('and all others are where the first ones were, as nothing is moved while a short budget fills up', () => {
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 1000 }, 8);
    const { array } = cache.store.buffers[0]!.inputs[0];
    cache.store.open(3);
    const first = array.data.buffer;
    for (let tokens = 100; tokens <= 1000; tokens += 100) {
      cache.store.open(tokens);
      expect(array.data.buffer).toBe(first);
    }
    expect(array.capacity).toBeGreaterThanOrEqual(1000);
  });

  it('count as bookkeeping, not as keys and values', () => {
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 20 }, 8);
    cache.store.open(20);
    const before = cache.memory();
    expect(before.keysAndValues).toBe(before.keysAndValuesLimit);
    cache.store.open(21);
    const { keysAndValues, bookkeeping, total } = cache.memory();
    expect(keysAndValues).toBe(before.keysAndValues);
    // 4 slots of 2 groups: a key and a value of 4 numbers, the position in float32 and the score in float64.
    expect(bookkeeping - before.bookkeeping).toBe(4 * 2 * (2 * 4 * 4 + 4 + 8));
    expect(total).toBe(keysAndValues + bookkeeping);
  });
});
