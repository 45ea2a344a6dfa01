/**
 * @file Matrix-valued recurrences by ggml's own operators, which go through the tokens one by one.
 *
 * A state after fewer tokens than the chunk has is that of a copy of the row in which the other tokens change nothing.
 */
import { GraphError } from '../../../util/errors.ts';
import { product } from '../../../util/numbers.ts';
import type { Tensor } from '../memory/tensor.ts';
import { affine, binary, scale } from './elementwise.ts';
import type { GraphMaker } from './graph-maker.ts';

/** State times [B, S] of a step: the name of the input, and S. */
export interface StateTimes {
  readonly name: string;
  readonly count: number;
}

/** A time step for which softplus is 0. */
const NO_STEP = -1e4;

/** Each row [B, ...] S times: [B·S, ...]. */
function copies(g: GraphMaker, x: Tensor, S: number): Tensor {
  if (S === 1) return x;
  const [B, ...rest] = x.dims;
  const size = product(rest);
  return g.reshape(g.repeat(g.reshape(x, [B, 1, size]), [B, S, size]), [B * S, ...rest]);
}

/** 1 for the tokens before a state time, else 0: [B·S, T, 1]. */
function tokenMask(g: GraphMaker, [B, T]: readonly [number, number], { name, count: S }: StateTimes): Tensor {
  return g.derive([B * S, T, 1], (inputs, out) => {
    const times = inputs[name].data as BigInt64Array;
    for (let row = 0; row < B * S; row++) {
      const time = Number(times[row]);
      for (let t = 0; t < T; t++) out[row * T + t] = t < time ? 1 : 0;
    }
  });
}

/** x [rows, heads, size, ·] or [rows, T, heads, size] with zeros up to `length` on one axis. */
function padded(g: GraphMaker, x: Tensor, axis: number, length: number): Tensor {
  const missing = length - x.dims[axis];
  if (missing === 0) return x;
  const dims = x.dims.map((own, i) => (i === axis ? missing : own));
  const zeros = g.over(new Float32Array(product(dims)), dims);
  return g.concat([x, zeros], axis);
}

/** Numbers `start …` of a result without axes. */
function part(g: GraphMaker, flat: Tensor, start: number, dims: readonly number[]): Tensor {
  const length = product(dims);
  return g.reshape(g.dense(g.slice(flat, 0, start, length)), dims);
}

/** What the tokens give: that of each row's last copy, which all of its tokens change. */
function ofLastCopy(g: GraphMaker, y: Tensor, S: number): Tensor {
  if (S === 1) return y;
  const [rows, ...rest] = y.dims;
  const size = product(rest);
  const last = g.slice(g.reshape(y, [rows / S, S, size]), 1, S - 1, 1);
  return g.reshape(g.dense(last), [rows / S, ...rest]);
}

/**
 * The gated delta rule.
 * @param state [B, H, V, K] @param q [B, T, Hk, K] @param v [B, T, H, V] @param logDecay [B, T, H]
 * @returns y [B, T, H, V], states [B, S, H, V·K]
 */
export function gatedDelta(
  g: GraphMaker,
  [state, q, k, v, logDecay, beta]: readonly Tensor[],
  times: StateTimes,
): Tensor[] {
  const [B, T, H, V] = v.dims;
  const [, , Hk, K] = k.dims;
  const S = times.count;
  const rows = B * S;
  // ggml's states are square, and its results are divided by √D.
  const D = Math.max(K, V);
  const mask = tokenMask(g, [B, T], times);
  /** ggml takes key head h % Hk, and not ⌊h · Hk / H⌋. */
  const perHead = (x: Tensor): Tensor => {
    const all = padded(g, copies(g, x, S), 3, D);
    if (Hk === H) return all;
    return g.reshape(g.repeat(g.reshape(all, [rows * T, Hk, 1, D]), [rows * T, Hk, H / Hk, D]), [rows, T, H, D]);
  };
  const masked = (x: Tensor): Tensor => g.reshape(binary(g, 'mul', copies(g, g.dense(x), S), mask), [rows, T, H, 1]);
  const start = padded(g, padded(g, copies(g, state, S), 2, D), 3, D);
  const queries = perHead(q);
  const result = g.call(
    'ggml_gated_delta_net',
    g.dense(D === K ? queries : scale(g, queries, Math.sqrt(D / K))).pointer,
    g.dense(perHead(k)).pointer,
    g.dense(padded(g, copies(g, v, S), 3, D)).pointer,
    masked(logDecay).pointer,
    masked(beta).pointer,
    g.dense(start).pointer,
    1,
  );
  const tokens = rows * T * H * D;
  const flat = g.made(result, [tokens + rows * H * D * D]);
  const y = ofLastCopy(g, part(g, flat, 0, [rows, T, H, D]), S);
  const next = part(g, flat, tokens, [rows, H, D, D]);
  const own = g.slice(g.slice(next, 2, 0, V), 3, 0, K);
  return [g.dense(g.slice(y, 3, 0, V)), g.reshape(own, [B, S, H, V * K])];
}

/**
 * The scan of Mamba and Mamba-2.
 * @param state [B, H, P, N] @param x [B, T, H, P] @param dt [B, T, H] @param a [H] or [H, N] @param b [B, T, G, N]
 * @returns y [B, T, H, P], states [B, S, H, P·N]
 */
export function selectiveScan(
  g: GraphMaker,
  [state, x, dt, a, b, c]: readonly Tensor[],
  times: StateTimes,
  { low, high }: { readonly low: number; readonly high: number },
): Tensor[] {
  if (low > 0 || high < Number.POSITIVE_INFINITY)
    throw new GraphError('the ggml engine does not compute scans whose time steps have limits');
  const [B, T, H, P] = x.dims;
  const N = b.dims[3];
  const S = times.count;
  const rows = B * S;
  const mask = tokenMask(g, [B, T], times);
  const steps = binary(g, 'mul', copies(g, g.dense(dt), S), mask);
  // (mask - 1) · 10,000: -10,000 for the tokens that change nothing.
  const masked = binary(g, 'add', steps, affine(g, mask, -NO_STEP, NO_STEP));
  const own = Int32Array.from({ length: rows }, (_, row) => row);
  const result = g.call(
    'ggml_ssm_scan',
    g.dense(copies(g, state, S)).pointer,
    g.dense(copies(g, x, S)).pointer,
    g.dense(masked).pointer,
    g.reshape(a, a.dims.length === 1 ? [H, 1] : [H, N]).pointer,
    g.dense(copies(g, b, S)).pointer,
    g.dense(copies(g, c, S)).pointer,
    g.over(own, [rows]).pointer,
    1,
  );
  const tokens = rows * T * H * P;
  const flat = g.made(result, [tokens + rows * H * P * N]);
  const y = ofLastCopy(g, part(g, flat, 0, [rows, T, H, P]), S);
  return [y, g.reshape(part(g, flat, tokens, [rows, H, P, N]), [B, S, H, P * N])];
}
