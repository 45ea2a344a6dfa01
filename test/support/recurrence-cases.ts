/**
 * @file Recurrences with matrices as states, computed token by token: what each engine's operators are compared with.
 */
import { range } from '../../src/util/numbers.ts';

/** An input of an operator. */
export interface Given {
  readonly data: Float32Array | BigInt64Array;
  readonly dims: readonly number[];
}

export interface RecurrenceCase {
  readonly given: Readonly<Record<string, Given>>;
  /** Results of the tokens that the rows have, one behind the other. */
  readonly y: Float32Array;
  readonly next: Float32Array;
  /** The same tokens of a result [B, T, ...]. */
  readonly ofTokens: (y: Float32Array) => Float32Array;
}

type Times = readonly (readonly number[])[];

/** State times of rows of different lengths; the last of a row is its length. */
export const STATE_TIMES: Readonly<Record<string, Times>> = {
  'one state': [[5], [3], [0]],
  'a state after each token': [
    [1, 2, 3, 4, 5],
    [1, 2, 3, 3, 3],
    [0, 0, 0, 0, 0],
  ],
  'one token': [[1], [1], [1]],
};

/** Numbers between -1 and 1, the same ones each time. */
export function numbers(count: number, seed: number): Float32Array {
  let x = seed;
  return Float32Array.from({ length: count }, () => {
    x = (x * 16807) % 2147483647;
    return (x / 2147483647) * 2 - 1;
  });
}

const floats = (dims: readonly number[], seed: number, map = (x: number) => x) => ({
  data: numbers(
    dims.reduce((a, b) => a * b, 1),
    seed,
  ).map(map),
  dims,
});

/** Runs `step` for each head of each row, token by token; keeps y and the states after `times`. */
function run(
  { B, T, H, V, K }: { B: number; T: number; H: number; V: number; K: number },
  state: Float32Array,
  times: Times,
  step: (matrix: Float32Array, b: number, t: number, h: number) => Float32Array,
): Pick<RecurrenceCase, 'y' | 'next' | 'ofTokens'> {
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
  const ofTokens = (all: Float32Array): Float32Array => {
    const width = all.length / (B * T);
    return Float32Array.from(
      times.flatMap((row, b) => Array.from(all.subarray(b * T * width, (b * T + row.at(-1)!) * width))),
    );
  };
  return { y: ofTokens(y), next, ofTokens };
}

const timesInput = (times: Times): Given => ({
  data: BigInt64Array.from(times.flat(), BigInt),
  dims: [times.length, times[0].length],
});

/** The gated delta rule, with keys and values of different sizes and two heads a key head. */
export function gatedDeltaCase(times: Times): RecurrenceCase {
  const [B, Hk, H, K, V] = [times.length, 2, 4, 8, 6];
  const T = Math.max(...times.flat());
  const state = floats([B, H, V, K], 1);
  const [q, k, v] = [floats([B, T, Hk, K], 2), floats([B, T, Hk, K], 3), floats([B, T, H, V], 4)];
  const logDecay = floats([B, T, H], 5, (x) => -Math.abs(x));
  const beta = floats([B, T, H], 6, Math.abs);
  const given = { state, q, k, v, logDecay, beta, times: timesInput(times) };
  const results = run({ B, T, H, V, K }, state.data, times, (M, b, t, h) => {
    const key = (b * T + t) * Hk + Math.floor((h * Hk) / H);
    const at = (b * T + t) * H + h;
    return Float32Array.from(range(V), (i) => {
      const row = M.subarray(i * K, (i + 1) * K);
      for (const j of range(K)) row[j] *= Math.exp(logDecay.data[at]);
      const held = range(K).reduce((sum, j) => sum + row[j] * k.data[key * K + j], 0);
      const u = beta.data[at] * (v.data[at * V + i] - held);
      for (const j of range(K)) row[j] += u * k.data[key * K + j];
      return range(K).reduce((sum, j) => sum + row[j] * q.data[key * K + j], 0) / Math.sqrt(K);
    });
  });
  return { given, ...results };
}

/** The scan of Mamba-2 (`head`: a decay for each head) or of Mamba (`state`: one for each number of the state). */
export function selectiveScanCase(
  decay: 'head' | 'state',
  times: Times,
  limits: { readonly low: number; readonly high: number },
): RecurrenceCase {
  const [B, H, N] = [times.length, 4, 5];
  const [P, G] = decay === 'head' ? [3, 2] : [1, 1];
  const T = Math.max(...times.flat());
  const [state, x, dt] = [floats([B, H, P, N], 1), floats([B, T, H, P], 2), floats([B, T, H], 3)];
  const a = floats(decay === 'head' ? [H] : [H, N], 4, (value) => -Math.abs(value));
  const [b, c] = [floats([B, T, G, N], 5), floats([B, T, G, N], 6)];
  const given = { state, x, dt, a, b, c, times: timesInput(times) };
  const results = run({ B, T, H, V: P, K: N }, state.data, times, (M, row, t, h) => {
    const group = (row * T + t) * G + Math.floor((h * G) / H);
    const at = (row * T + t) * H + h;
    const d = Math.min(Math.max(Math.log1p(Math.exp(dt.data[at])), limits.low), limits.high);
    return Float32Array.from(range(P), (p) => {
      const line = M.subarray(p * N, (p + 1) * N);
      for (const n of range(N)) {
        const rate = a.data[decay === 'head' ? h : h * N + n];
        line[n] = line[n] * Math.exp(d * rate) + d * x.data[at * P + p] * b.data[group * N + n];
      }
      return range(N).reduce((sum, n) => sum + line[n] * c.data[group * N + n], 0);
    });
  });
  return { given, ...results };
}
