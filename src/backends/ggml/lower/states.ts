/**
 * @file Operators with a state.
 */
import type { Tensor } from '../memory/tensor.ts';
import { binary } from './elementwise.ts';
import type { GraphMaker, RunInputs } from './graph-maker.ts';

/** State times [B, S] of a step, by the name of the input. */
const timesOf = (inputs: RunInputs, name: string): BigInt64Array => inputs[name].data as BigInt64Array;

/** A causal convolution of each channel. @param state [B, K - 1, W] @param x [B, T, W] @param weight [K, W] */
export function convolve(
  g: GraphMaker,
  [state, x, weight, bias]: readonly [Tensor, Tensor, Tensor, Tensor | null],
  times: { readonly name: string; readonly count: number },
): Tensor[] {
  const [B, T, W] = x.dims;
  const K = weight.dims[0];
  const padded = g.concat([state, x], 1); // [B, K - 1 + T, W]
  let y: Tensor | null = bias;
  for (let i = 0; i < K; i++) {
    const tap = binary(g, 'mul', g.slice(padded, 1, i, T), g.slice(weight, 0, i, 1));
    y = y ? binary(g, 'add', tap, y) : tap;
  }
  const S = times.count;
  const length = K - 1 + T;
  const index = g.deriveIndex([B, S, K - 1], (inputs, out) => {
    const at = timesOf(inputs, times.name);
    for (let b = 0, to = 0; b < B; b++)
      for (let s = 0; s < S; s++) for (let i = 0; i < K - 1; i++) out[to++] = b * length + Number(at[b * S + s]) + i;
  });
  return [y!, g.rows(g.reshape(padded, [B * length, W]), index)];
}

/**
 * h[t] = decay[t] · h[t - 1] + input[t], in log2(T) rounds: after the round of `reach`, each token has the sum of the
 * last 2 · reach inputs, each times the decays after it.
 */
export function linearScan(
  g: GraphMaker,
  [state, decay, input]: readonly [Tensor, Tensor, Tensor],
  times: { readonly name: string; readonly count: number },
): Tensor[] {
  const [B, T, W] = input.dims;
  const before = g.reshape(state, [B, 1, W]);
  // The state is the token before the first one: it decays nothing, and its input is itself.
  let sums = g.concat([before, input], 1);
  let decays = g.concat([g.over(new Float32Array(B * W), [B, 1, W]), decay], 1);
  const all = T + 1;
  for (let reach = 1; reach < all; reach *= 2) {
    const rest = all - reach;
    const own = g.slice(decays, 1, reach, rest);
    const earlier = binary(g, 'mul', own, g.slice(sums, 1, 0, rest));
    sums = g.concat([g.slice(sums, 1, 0, reach), binary(g, 'add', earlier, g.slice(sums, 1, reach, rest))], 1);
    decays = g.concat([g.slice(decays, 1, 0, reach), binary(g, 'mul', own, g.slice(decays, 1, 0, rest))], 1);
  }
  const S = times.count;
  const index = g.deriveIndex([B, S], (inputs, out) => {
    const at = timesOf(inputs, times.name);
    for (let i = 0; i < B * S; i++) out[i] = Math.floor(i / S) * all + Number(at[i]);
  });
  return [g.dense(g.slice(sums, 1, 1, T)), g.rows(g.reshape(sums, [B * all, W]), index)];
}
