/**
 * @file Operators with a state: what a layer keeps between steps in place of slots.
 */
import { GraphError } from '../util/errors.ts';
import type { OpGraph } from './graph.ts';
import type { Dim } from './shapes.ts';
import type { OpAttributes, Value } from './types.ts';

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

export interface GatedDeltaInputs {
  /** [B, H, V, K] */
  readonly state: Value;
  /** [B, T, Hk, K] */
  readonly q: Value;
  readonly k: Value;
  /** [B, T, H, V] */
  readonly v: Value;
  /** [B, T, H] */
  readonly logDecay: Value;
  readonly beta: Value;
  /** int64 [B, S] */
  readonly times: Value;
}

/**
 * The gated delta rule. See {@link OpAttributes.gatedDelta}.
 * @returns y [B, T, H, V], and states [B, S, H, V·K]
 * @throws GraphError where heads do not divide, or states do not fit.
 */
export function gatedDelta(g: OpGraph, inputs: GatedDeltaInputs): [y: Value, next: Value] {
  const { state, q, k, v, logDecay, beta, times } = inputs;
  const [keyHeads, heads] = [k.shape[2] as number, v.shape[2] as number];
  if (heads % keyHeads !== 0) throw new GraphError(`gatedDelta: ${keyHeads} key heads do not divide ${heads} heads`);
  checkState('gatedDelta', state, [heads, v.shape[3], k.shape[3]]);
  const [y, next] = g.add('gatedDelta', [state, q, k, v, logDecay, beta, times], {}, [v, nextOf(state, times)]);
  return [y, next];
}

export interface SelectiveScanInputs {
  /** [B, H, P, N] */
  readonly state: Value;
  /** [B, T, H, P] */
  readonly x: Value;
  /** [B, T, H] */
  readonly dt: Value;
  /** [H] or [H, N], below 0 */
  readonly a: Value;
  /** [B, T, G, N] */
  readonly b: Value;
  readonly c: Value;
  /** int64 [B, S] */
  readonly times: Value;
}

/**
 * The scan of Mamba and Mamba-2. See {@link OpAttributes.selectiveScan}.
 * @returns y [B, T, H, P], and states [B, S, H, P·N]
 * @throws GraphError where heads do not divide into groups, or states do not fit.
 */
export function selectiveScan(
  g: OpGraph,
  inputs: SelectiveScanInputs,
  attributes: OpAttributes['selectiveScan'],
): [y: Value, next: Value] {
  const { state, x, dt, a, b, c, times } = inputs;
  const [groups, heads] = [b.shape[2] as number, x.shape[2] as number];
  if (heads % groups !== 0) throw new GraphError(`selectiveScan: ${heads} heads do not divide into ${groups} groups`);
  checkState('selectiveScan', state, [heads, x.shape[3], b.shape[3]]);
  const [y, next] = g.add('selectiveScan', [state, x, dt, a, b, c, times], attributes, [x, nextOf(state, times)]);
  return [y, next];
}

function nextOf({ shape }: Value, times: Value): { dtype: 'float32'; shape: Dim[] } {
  const [B, H, V, K] = shape;
  return { dtype: 'float32', shape: [B, times.shape[1], H, (V as number) * (K as number)] };
}

function checkState(op: string, state: Value, dims: readonly Dim[]): void {
  if (`${state.shape.slice(1)}` !== `${dims}`)
    throw new GraphError(`${op}: the state is [${state.shape}], but heads of [${dims}] need another`);
}
