import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { OpGraph } from '../../../ops/graph.ts';
import { gatedDelta, headLinear, selectiveScan } from '../../../ops/states.ts';
import type { Value } from '../../../ops/types.ts';
import { range } from '../../../util/numbers.ts';
import type { PreparedWeights } from '../../../weights/types.ts';
import { onnxTarget } from '../target.ts';
import { lowerToOnnx } from './lower.ts';

const NO_WEIGHTS = { params: new Map(), file: { folder: '', name: '' } } as unknown as PreparedWeights;

/** Numbers between -1 and 1, the same ones each time. */
function numbers(count: number, seed: number): Float32Array {
  let x = seed;
  return Float32Array.from({ length: count }, () => {
    x = (x * 16807) % 2147483647;
    return (x / 2147483647) * 2 - 1;
  });
}

const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);

interface Given {
  readonly data: Float32Array | BigInt64Array;
  readonly dims: readonly number[];
}

/** What a graph makes of its inputs. */
async function run(
  given: Readonly<Record<string, Given>>,
  trace: (g: OpGraph, values: Readonly<Record<string, Value>>) => readonly Value[],
): Promise<Float32Array[]> {
  const g = new OpGraph(onnxTarget);
  const values = Object.fromEntries(
    Object.entries(given).map(([name, { data, dims }]) => [
      name,
      g.input(name, data instanceof Float32Array ? 'float32' : 'int64', name === 'a' ? dims : symbolic(name, dims)),
    ]),
  );
  trace(g, values).forEach((value, i) => {
    g.output(value, `out.${i}`);
  });
  const model = lowerToOnnx(g);
  const session = await InferenceSession.create(model.serialize(NO_WEIGHTS), { intraOpNumThreads: 1 });
  const feeds = Object.entries(given).map(([name, { data, dims }]) => [
    name,
    data instanceof Float32Array ? new Tensor('float32', data, dims) : new Tensor('int64', data, dims),
  ]);
  const outputs = await session.run(Object.fromEntries(feeds));
  await session.release();
  return Object.keys(outputs)
    .sort()
    .map((name) => outputs[name].data as Float32Array);
}

/** B, T and S are known at run time only. */
function symbolic(name: string, dims: readonly number[]): (number | string)[] {
  if (name === 'times') return ['B', 'S'];
  if (name === 'heads') return ['B', dims[1], 'T', dims[3]];
  return name === 'state' ? ['B', ...dims.slice(1)] : ['B', 'T', ...dims.slice(2)];
}

const floats = (dims: readonly number[], seed: number, map = (x: number) => x): Given => ({
  data: numbers(product(dims), seed).map(map),
  dims,
});

const maxDifference = (a: Float32Array, b: Float32Array): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
};

/** Rows of different lengths; the last time of a row is its length. */
const TIMES = {
  'one state': [[5], [3], [0]],
  'a state after each token': [
    [1, 2, 3, 4, 5],
    [1, 2, 3, 3, 3],
    [0, 0, 0, 0, 0],
  ],
  'one token': [[1], [1], [1]],
} as const;

/** Runs `step` for each head of each row, token by token; keeps y and the states after `times`. */
function reference(
  { B, T, H, V, K }: { B: number; T: number; H: number; V: number; K: number },
  state: Float32Array,
  times: readonly (readonly number[])[],
  step: (matrix: Float32Array, b: number, t: number, h: number) => Float32Array,
): [y: Float32Array, next: Float32Array] {
  const S = times[0].length;
  const y = new Float32Array(B * T * H * V);
  const next = new Float32Array(B * S * H * V * K);
  for (const b of range(B))
    for (const h of range(H)) {
      const matrix = state.slice((b * H + h) * V * K, (b * H + h + 1) * V * K);
      const keep = (after: number) =>
        times[b].forEach((time, s) => {
          if (time === after) next.set(matrix, ((b * S + s) * H + h) * V * K);
        });
      keep(0);
      for (const t of range(T)) {
        y.set(step(matrix, b, t, h), ((b * T + t) * H + h) * V);
        keep(t + 1);
      }
    }
  return [y, next];
}

/** Results of the tokens that the rows have. */
function ofTokens(y: Float32Array, times: readonly (readonly number[])[], T: number): Float32Array {
  const width = y.length / (times.length * T);
  return Float32Array.from(
    times.flatMap((row, b) => Array.from(y.subarray(b * T * width, (b * T + row.at(-1)!) * width))),
  );
}

describe('gatedDelta', () => {
  it.each(Object.entries(TIMES))('%s: as the rule says, token by token', async (_, times) => {
    const [B, Hk, H, K, V] = [3, 2, 4, 8, 6];
    const T = Math.max(...times.flat());
    const given = {
      state: floats([B, H, V, K], 1),
      q: floats([B, T, Hk, K], 2),
      k: floats([B, T, Hk, K], 3),
      v: floats([B, T, H, V], 4),
      logDecay: floats([B, T, H], 5, (x) => -Math.abs(x)),
      beta: floats([B, T, H], 6, Math.abs),
      times: { data: BigInt64Array.from(times.flat(), BigInt), dims: [B, times[0].length] },
    };
    const [q, k, v, decay, beta] = [given.q, given.k, given.v, given.logDecay, given.beta].map(
      ({ data }) => data as Float32Array,
    );
    const out = await run(given, (g, values) => gatedDelta(g, values as never));
    const [y, next] = reference({ B, T, H, V, K }, given.state.data as Float32Array, times, (M, b, t, h) => {
      const key = (b * T + t) * Hk + Math.floor((h * Hk) / H);
      const at = (b * T + t) * H + h;
      return Float32Array.from(range(V), (i) => {
        const row = M.subarray(i * K, (i + 1) * K);
        for (const j of range(K)) row[j] *= Math.exp(decay[at]);
        const held = range(K).reduce((sum, j) => sum + row[j] * k[key * K + j], 0);
        const u = beta[at] * (v[at * V + i] - held);
        for (const j of range(K)) row[j] += u * k[key * K + j];
        return range(K).reduce((sum, j) => sum + row[j] * q[key * K + j], 0) / Math.sqrt(K);
      });
    });
    expect(maxDifference(ofTokens(out[0], times, T), ofTokens(y, times, T))).toBeLessThan(1e-6);
    expect(maxDifference(out[1], next)).toBeLessThan(1e-6);
  });
});

describe('selectiveScan', () => {
  const cases = Object.entries(TIMES).flatMap(([name, times]) =>
    (['one decay a head', 'one decay a state'] as const).map((kind) => [kind, name, times] as const),
  );
  it.each(cases)('%s, %s: as the scan says, token by token', async (kind, _, times) => {
    const [B, H, N] = [3, 4, 5];
    const [P, G] = kind === 'one decay a head' ? [3, 2] : [1, 1];
    const T = Math.max(...times.flat());
    const given = {
      state: floats([B, H, P, N], 1),
      x: floats([B, T, H, P], 2),
      dt: floats([B, T, H], 3),
      a: floats(kind === 'one decay a head' ? [H] : [H, N], 4, (x) => -Math.abs(x)),
      b: floats([B, T, G, N], 5),
      c: floats([B, T, G, N], 6),
      times: { data: BigInt64Array.from(times.flat(), BigInt), dims: [B, times[0].length] },
    };
    const [x, dt, a, bs, cs] = [given.x, given.dt, given.a, given.b, given.c].map(({ data }) => data as Float32Array);
    const limits = { low: 0.4, high: 0.9 };
    const out = await run(given, (g, values) => selectiveScan(g, values as never, limits));
    const [y, next] = reference({ B, T, H, V: P, K: N }, given.state.data as Float32Array, times, (M, b, t, h) => {
      const group = (b * T + t) * G + Math.floor((h * G) / H);
      const at = (b * T + t) * H + h;
      const d = Math.min(Math.max(Math.log1p(Math.exp(dt[at])), limits.low), limits.high);
      return Float32Array.from(range(P), (p) => {
        const row = M.subarray(p * N, (p + 1) * N);
        for (const n of range(N))
          row[n] = row[n] * Math.exp(d * a[a.length === H ? h : h * N + n]) + d * x[at * P + p] * bs[group * N + n];
        return range(N).reduce((sum, n) => sum + row[n] * cs[group * N + n], 0);
      });
    });
    expect(maxDifference(ofTokens(out[0], times, T), ofTokens(y, times, T))).toBeLessThan(1e-6);
    expect(maxDifference(out[1], next)).toBeLessThan(1e-6);
  });
});

describe('headLinear', () => {
  it('takes each head through its own matrix', async () => {
    const [B, H, T, inner, out] = [2, 3, 4, 5, 6];
    const x = numbers(B * H * T * inner, 1);
    const weight = numbers(H * out * inner, 2);
    const [y] = await run({ heads: { data: x, dims: [B, H, T, inner] } }, (g, { heads }) => [
      headLinear(g, heads, g.constant(weight, [H, out, inner])),
    ]);
    const expected = Float32Array.from(range(B * H * T * out), (i) => {
      const [row, o] = [Math.floor(i / out), i % out];
      const h = Math.floor(row / T) % H;
      return range(inner).reduce((sum, j) => sum + x[row * inner + j] * weight[(h * out + o) * inner + j], 0);
    });
    expect(maxDifference(y, expected)).toBeLessThan(1e-6);
  });
});
