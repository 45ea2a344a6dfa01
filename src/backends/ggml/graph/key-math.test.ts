import { afterEach, describe, expect, it } from 'vitest';
import { tokensFrom } from '../../../../test/support/cache-runs.ts';
import { fakeStep } from '../../../../test/support/fake-graph.ts';
import { FakeModel, fakeRotation, fakeShape } from '../../../../test/support/fake-model.ts';
import { createCache } from '../../../kvcache/policies.ts';
import { hostForms, hostProducts } from '../../../kvcache/policy/vectors.ts';
import { range } from '../../../util/numbers.ts';
import { nativeCounts } from '../binding/native.ts';
import { GgmlKeyMath } from './key-math.ts';

/** Numbers of no pattern. */
const wave = (length: number, seed: number) => Float64Array.from({ length }, (_, i) => Math.sin(seed + 1.7 * i * i));

function symmetric(count: number, D: number): Float64Array {
  const a = wave(count * D * D, 3);
  for (const m of range(count))
    for (const i of range(D)) for (const j of range(i)) a[(m * D + i) * D + j] = a[(m * D + j) * D + i];
  return a;
}

describe('what ggml computes with keys', () => {
  const math = new GgmlKeyMath(2);
  afterEach(() => math.dispose());

  it('has the forms of the host, for any lengths in turns, and after what they took was given back', async () => {
    const before = nativeCounts();
    for (const [count, M, D] of [
      [1, 1, 4],
      [70, 3, 64],
      [300, 4, 85],
      [70, 3, 64],
      [70, 1, 128],
    ]) {
      // What lies behind the keys does not count.
      const keys = Float32Array.from(wave(count * D + 5, 1));
      const [matrices, vectors] = [symmetric(M, D), wave(M * D, 2)];
      const wanted = hostForms(keys, count, D, matrices, vectors);
      const given = math.forms(keys, count, D, matrices, vectors);
      expect(given).toHaveLength(count * M);
      expect(wanted.filter((x) => x !== 0).length).toBeGreaterThan(0);
      for (const i of range(count * M)) expect(given[i]).toBeCloseTo(wanted[i], 3);
      if (D === 85) await math.dispose();
    }
    await math.dispose();
    expect(nativeCounts()).toEqual(before);
  });

  it('multiplies keys with each other as the host does, as many as there are', () => {
    for (const [count, D] of [
      [1, 4],
      [33, 64],
      [100, 85],
      [40, 64],
    ]) {
      const keys = Float32Array.from(wave(count * D + 5, 1));
      const [wanted, given] = [hostProducts(keys, count, D), math.products(keys, count, D)];
      for (const a of range(count))
        for (const b of range(count))
          expect(given.products[a * given.stride + b]).toBeCloseTo(wanted.products[a * wanted.stride + b], 3);
    }
  });

  it('gives a cache the scores that it has without them', () => {
    const shape = fakeShape({ windows: [null, 9], groups: 2, heads: 3, headSize: 8, rotation: fakeRotation(8) });
    const model = new FakeModel(shape, 5);
    const options = { policy: 'expected', cacheLength: 16, refresh: 2, horizon: 8 } as const;
    const [cache, alone] = [{ ...shape, keyMath: math }, shape].map((one) => createCache(one, options));
    for (const [step, count] of [12, 9, 1, 1, 1, 1, 2, 1].entries()) {
      const phase = step < 2 ? 'prompt' : 'decode';
      for (const one of [cache, alone]) fakeStep(model, one, [tokensFrom(0, one.length(), count)], { phase });
      for (const l of [0, 1])
        for (const g of [0, 1]) {
          expect(cache.tokenPositions(l, 0, g)).toEqual(alone.tokenPositions(l, 0, g));
          const wanted = alone.scores(l, 0, g)!;
          for (const [j, score] of cache.scores(l, 0, g)!.entries()) expect(score).toBeCloseTo(wanted[j], 5);
        }
    }
  });
});
