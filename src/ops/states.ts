/**
 * @file Operators with a state: what a layer keeps between steps in place of slots.
 */
import type { OpGraph } from './graph.ts';
import type { Value } from './types.ts';

/**
 * A causal convolution of each channel.
 * @param state [B, K - 1, W]: the last inputs.
 * @param x [B, T, W]
 * @param weight [K, W]
 * @param bias [W] or null
 * @param times int64 [B, S]: after how many of the chunk's tokens a state is wanted.
 * @returns the result [B, T, W], and states [B, S, K - 1, W]
 */
export function convolve(
  g: OpGraph,
  state: Value,
  x: Value,
  weight: Value,
  bias: Value | null,
  times: Value,
): [y: Value, next: Value] {
  const [y, next] = g.add('convolve', [state, x, weight, bias, times], {}, [
    x,
    { dtype: 'float32', shape: [x.shape[0], times.shape[1], ...state.shape.slice(1)] },
  ]);
  return [y, next];
}

/**
 * h[t] = decay[t] · h[t - 1] + input[t], each channel by itself.
 * @param state [B, W]
 * @param decay [B, T, W]
 * @param input [B, T, W]
 * @param times int64 [B, S]
 * @returns h [B, T, W], and states [B, S, W]
 */
export function linearScan(
  g: OpGraph,
  state: Value,
  decay: Value,
  input: Value,
  times: Value,
): [h: Value, next: Value] {
  const [h, next] = g.add('linearScan', [state, decay, input, times], {}, [
    input,
    { dtype: 'float32', shape: [input.shape[0], times.shape[1], input.shape[2]] },
  ]);
  return [h, next];
}

/** 1 at the first token of a sequence, else 0. @param positions [B, T]. @returns [B, T, 1] */
export function startMask(g: OpGraph, positions: Value): Value {
  return g.add('startMask', [positions], {}, [{ dtype: 'float32', shape: [...positions.shape, 1] }])[0];
}
