/**
 * @file What mixers with a state have in common: their inputs and outputs, and the short convolution that most of them
 * begin with.
 */
import type { StateShape } from '../../kvcache/shape.ts';
import { unary } from '../../ops/basic.ts';
import type { OpGraph } from '../../ops/graph.ts';
import { convolve } from '../../ops/states.ts';
import { INPUT } from '../../ops/step-names.ts';
import type { Value } from '../../ops/types.ts';
import { type ModelContext, plainParam } from '../context.ts';

export interface StateOutputs {
  /** [B, T, E] */
  readonly y: Value;
  /** States after the chunk by name, [B, S, ...dims]. */
  readonly next: Readonly<Record<string, Value>>;
}

/** The input `state.NAME` [B, ...dims]. */
export function stateInput(g: OpGraph, { name, dims }: StateShape): Value {
  return g.input(INPUT.state(name), 'float32', ['B', ...dims]);
}

/**
 * A causal convolution of each channel, with the parameters `NAME.weight` [K, W] and `NAME.bias` [W].
 * @param x [B, T, W]
 */
export function convolution(
  ctx: ModelContext,
  x: Value,
  name: string,
  { state, times, bias: hasBias }: { readonly state: StateShape; readonly times: Value; readonly bias: boolean },
): [y: Value, next: Value] {
  const [before, channels] = state.dims;
  const weight = plainParam(ctx, `${name}.weight`, [before + 1, channels]);
  const bias = hasBias ? plainParam(ctx, `${name}.bias`, [channels]) : null;
  return convolve(ctx.g, stateInput(ctx.g, state), x, weight, bias, times);
}

/** Rates of decay, below 0: -exp(NAME), of which the checkpoint holds the logarithms. */
export function decayRate(ctx: ModelContext, name: string, shape: readonly number[]): Value {
  const { g } = ctx;
  return unary(g, 'neg', unary(g, 'exp', plainParam(ctx, name, shape)));
}
