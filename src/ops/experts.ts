/**
 * @file Mixtures of experts.
 */
import type { RouterSpec } from '../config/mlp-spec.ts';
import type { OpGraph } from './graph.ts';
import type { OpAttributes, Value } from './types.ts';

/** The choice for N tokens. */
export interface Routing {
  /** The router's logits [N, experts]. */
  readonly logits: Value;
  /** int64 [N, k] */
  readonly chosen: Value;
  /** [N, k] */
  readonly weights: Value;
}

/**
 * Chooses experts.
 * @param logits [N, experts].
 * @param choiceBias [experts], added to the scores for the choice only; null: none.
 */
export function route(g: OpGraph, logits: Value, choiceBias: Value | null, attributes: RouterSpec): Routing {
  const shape = [logits.shape[0], attributes.perToken];
  const [chosen, weights] = g.add('route', [logits, choiceBias], attributes, [
    { dtype: 'int64', shape },
    { dtype: 'float32', shape },
  ]);
  return { logits, chosen, weights };
}

/** The weighted sum of each token's experts. @param x [N, E]. @param matrices and biases, as the layout says. */
export function experts(
  g: OpGraph,
  x: Value,
  { logits, chosen, weights }: Routing,
  matrices: readonly Value[],
  attributes: OpAttributes['experts'],
): Value {
  return g.add('experts', [x, logits, chosen, weights, ...matrices], attributes, [x])[0];
}

/** Each token's rows through the experts that were chosen for them. @param x [N, 1 or k, in]. @returns [N, k, out] */
export function expertLinear(g: OpGraph, x: Value, chosen: Value, matrices: readonly Value[], count: number): Value {
  const out = (matrices[0].shape[0] as number) / (matrices.length === 1 ? count : 1);
  const shape = [x.shape[0], chosen.shape[1], out];
  return g.add('expertLinear', [x, chosen, ...matrices], { count }, [{ dtype: 'float32', shape }])[0];
}

/** The tokens that chose an expert, M of them. */
export function tokensOf(
  g: OpGraph,
  x: Value,
  { chosen, weights }: Routing,
  expert: number,
): { readonly tokens: Value; readonly rows: Value; readonly weights: Value } {
  const [tokens, rows, each] = g.add('tokensOf', [x, chosen, weights], { expert }, [
    { dtype: 'int64', shape: ['M', 1] },
    { dtype: 'float32', shape: ['M', x.shape[1]] },
    { dtype: 'float32', shape: ['M', 1] },
  ]);
  return { tokens, rows, weights: each };
}

/** x [N, E] with rows [M, E] added to those at `tokens` [M, 1]. */
export function addRows(g: OpGraph, x: Value, tokens: Value, rows: Value): Value {
  return g.add('addRows', [x, tokens, rows], {}, [x])[0];
}
