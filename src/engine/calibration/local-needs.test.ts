/**
 * What attention loses with sinks and recent tokens alone, against attention computed over those tokens.
 */
import { describe, expect, it } from 'vitest';
import { seeded } from '../../../test/support/seeded.ts';
import { LOCAL_WINDOWS, MEASURED_SINKS } from '../../kvcache/routing/calibration-table.ts';
import type { LayerShape } from '../../kvcache/shape.ts';
import { LocalNeeds } from './local-needs.ts';

const [G, R, D, E, CHUNK, CHUNKS] = [2, 3, 4, 5, 10, 4];
const H = G * R;
const T = CHUNK * CHUNKS;
const QUERIES = [3, 9];
const RESIDUAL = 0.7;
const shape: LayerShape = {
  ...{ slots: true, groups: G, heads: H, keySize: D, valueSize: D },
  ...{ attentionScale: 1, window: null, rotation: null },
};

/** Scores [H, T, T], values [G, T, D] and the projection [H · D, E]. @param sink weight that no token gets. */
function fixture(sink: number) {
  const random = seeded(7);
  const numbers = (count: number) => Float32Array.from({ length: count }, () => random(1e6) / 5e5 - 1);
  const [scores, values, projection] = [numbers(H * T * T).map((x) => 2 * x), numbers(G * T * D), numbers(H * D * E)];
  const weights = (h: number, t: number, sees: (j: number) => boolean): number[] => {
    const all = Array.from({ length: T }, (_, j) => (j <= t && sees(j) ? Math.exp(scores[(h * T + t) * T + j]) : 0));
    const sum = all.reduce((a, b) => a + b, sink);
    return all.map((x) => x / sum);
  };
  const result = (g: number, t: number, sees: (j: number) => boolean): number[] =>
    Array.from({ length: R }, (_, r) => {
      const p = weights(g * R + r, t, sees);
      return Array.from({ length: D }, (_, i) => p.reduce((sum, x, j) => sum + x * values[(g * T + j) * D + i], 0));
    }).flat();
  return { values, projection, weights, result };
}

function measure(sink: number, projected: boolean): { measured: number[][]; expected: number[][] } {
  const { values, projection, weights, result } = fixture(sink);
  const needs = new LocalNeeds(shape, projected ? projection : null, T);
  for (let first = 0; first < T; first += CHUNK) {
    const slots = first + 2; // more than are in use
    const columns = slots + CHUNK;
    const observed = new Float32Array(G * R * QUERIES.length * columns);
    for (let h = 0; h < H; h++)
      for (const [i, t] of QUERIES.entries()) {
        const p = weights(h, first + t, () => true);
        const row = observed.subarray((h * QUERIES.length + i) * columns);
        for (let j = 0; j < first; j++) row[j] = p[j];
        for (let j = 0; j < CHUNK; j++) row[slots + j] = p[first + j];
      }
    const own = Float32Array.from({ length: G * CHUNK * D }, (_, n) => {
      const [g, rest] = [Math.floor(n / (CHUNK * D)), n % (CHUNK * D)];
      return values[(g * T + first) * D + rest];
    });
    const probe = { weights: observed, residual: RESIDUAL, keys: own, values: own, queryProducts: null };
    needs.add({ ...probe, chunkColumn: slots }, first, QUERIES);
  }
  const expected = Array.from({ length: G }, (_, g) =>
    LOCAL_WINDOWS.map((w) => {
      let [lost, whole] = [0, 0];
      for (let first = 0; first < T; first += CHUNK)
        for (const q of QUERIES) {
          const t = first + q;
          const full = result(g, t, () => true);
          const near = result(g, t, (j) => j < MEASURED_SINKS || j > t - w);
          const d = full.map((x, i) => x - near[i]);
          const square = (x: number[]) => x.reduce((sum, y) => sum + y * y, 0);
          if (projected) {
            const y = Array.from({ length: E }, (_, e) =>
              d.reduce((sum, x, i) => sum + x * projection[(g * R * D + i) * E + e], 0),
            );
            lost += square(y);
            whole += E * RESIDUAL;
          } else {
            lost += square(d);
            whole += square(full);
          }
        }
      return lost / whole;
    }),
  );
  return { measured: needs.result(), expected };
}

describe('local needs', () => {
  for (const projected of [true, false])
    for (const sink of [0, 1.5])
      it(`are those of attention to fewer tokens (${projected ? 'projected' : 'not projected'}, learned sink ${sink})`, () => {
        const { measured, expected } = measure(sink, projected);
        expect(expected[0][0]).toBeGreaterThan(1e-3);
        for (let g = 0; g < G; g++)
          for (let w = 0; w < LOCAL_WINDOWS.length; w++) {
            const [a, b] = [measured[g][w], expected[g][w]];
            expect(Math.abs(a - b), `group ${g}, window ${LOCAL_WINDOWS[w]}: ${a}, ${b}`).toBeLessThan(
              1e-4 * (b + 1e-3),
            );
          }
      });
});
