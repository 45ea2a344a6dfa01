import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { range } from '../../util/numbers.ts';
import { Clusters } from './clusters.ts';

/** Points on a line. */
const line = (at: readonly number[], weights = at.map(() => 1), shares = weights) => ({
  count: at.length,
  size: 1,
  coordinates: Float32Array.from(at),
  shares: Float64Array.from(shares),
  weights: Float64Array.from(weights),
});

/** The same from its definition: all pairs are looked at before each join, with the means of their points. */
function plainly({ count, size, coordinates, shares, weights }: ReturnType<typeof line>, joins: number): number[] {
  const into = new Array<number>(count).fill(-1);
  const clusters = range(count).map((i) => ({ id: i, members: [i], weight: weights[i] }));
  const mean = (members: readonly number[]) => {
    const all = members.reduce((sum, i) => sum + shares[i], 0);
    return range(size).map((d) => members.reduce((sum, i) => sum + (shares[i] / all) * coordinates[i * size + d], 0));
  };
  for (let left = joins; left > 0; left--) {
    const pairs = clusters.flatMap((a, i) =>
      clusters.slice(0, i).map((b) => {
        const [p, q] = [mean(a.members), mean(b.members)];
        const distance = p.reduce((sum, x, d) => sum + (x - q[d]) ** 2, 0);
        return { a, b, loss: (distance * a.weight * b.weight) / (a.weight + b.weight) };
      }),
    );
    const { a, b } = pairs.reduce((best, pair) => (pair.loss < best.loss ? pair : best));
    const [stays, goes] = a.weight > b.weight ? [a, b] : [b, a];
    into[goes.id] = stays.id;
    stays.members.push(...goes.members);
    stays.weight += goes.weight;
    clusters.splice(clusters.indexOf(goes), 1);
  }
  return into;
}

describe('clusters', () => {
  it('join what is near, into what weighs more', () => {
    expect([...new Clusters().join(line([0, 10, 11, 30], [1, 2, 1, 1]), 1)]).toEqual([-1, -1, 1, -1]);
    expect([...new Clusters().join(line([0, 10, 11, 30], [1, 2, 1, 1]), 2)]).toEqual([1, -1, 1, -1]);
  });

  it('join what weighs little before what is near', () => {
    expect([...new Clusters().join(line([0, 1, 10, 12], [9, 9, 0.01, 0.02]), 1)]).toEqual([-1, -1, 3, -1]);
  });

  it('leave one, and nothing where nothing is asked for', () => {
    expect([...new Clusters().join(line([1, 2, 3]), 9)].filter((to) => to < 0)).toHaveLength(1);
    expect([...new Clusters().join(line([1, 2, 3]), 0)]).toEqual([-1, -1, -1]);
    expect([...new Clusters().join(line([]), 1)]).toEqual([]);
  });

  it('are those of the definition', () => {
    const clusters = new Clusters();
    const number = fc.double({ min: 0.01, max: 1, noNaN: true });
    const points = fc.integer({ min: 2, max: 24 }).chain((count) =>
      fc.record({
        count: fc.constant(count),
        size: fc.constant(3),
        coordinates: fc
          .array(number, { minLength: 3 * count, maxLength: 3 * count })
          .map(Float32Array.from.bind(Float32Array)),
        shares: fc.array(number, { minLength: count, maxLength: count }).map(Float64Array.from.bind(Float64Array)),
        weights: fc.array(number, { minLength: count, maxLength: count }).map(Float64Array.from.bind(Float64Array)),
        joins: fc.integer({ min: 1, max: count - 1 }),
      }),
    );
    fc.assert(
      fc.property(points, ({ joins, ...given }) => {
        // Numbers of no pattern on top: equal losses may be joined in any order.
        const coordinates = given.coordinates.map((x, i) => x + Math.sin(1 + 1.7 * i * i));
        const weights = given.weights.map((x, i) => x + 0.1 + 0.01 * Math.sin(2 + 1.3 * i * i));
        expect([...clusters.join({ ...given, coordinates, weights }, joins)]).toEqual(
          plainly({ ...given, coordinates, weights }, joins),
        );
      }),
      { numRuns: 200 },
    );
  });
});
