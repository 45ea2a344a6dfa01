/**
 * @file What the parts of the model share while it is traced.
 */
import type { Config } from '../config/config.ts';
import type { OpGraph } from '../ops/graph.ts';
import type { Value } from '../ops/types.ts';
import { GraphError } from '../util/errors.ts';
import { product } from '../util/numbers.ts';
import type { ParamPart, ParamSpec, WeightFormat } from '../weights/types.ts';
import type { AdapterTrace } from './adapter-trace.ts';

/** The trace of one graph. */
export interface ModelContext {
  readonly g: OpGraph;
  readonly config: Config;
  /** The model's weight format; the engine may store single matrices in another. */
  readonly format: WeightFormat;
  /** Live adapters; null: the graph has no hooks. */
  readonly adapters: AdapterTrace | null;
}

/** A float32 parameter: a vector (norm weight, bias), or a small matrix. */
export function plainParam(
  { g }: ModelContext,
  name: string,
  shape: readonly number[],
  parts?: readonly ParamPart[],
): Value {
  const cols = shape.length > 1 ? shape[shape.length - 1] : 1;
  const rows = product(shape) / cols;
  return g.param({ name, shape, role: 'plain', format: 'float32', parts: parts ?? [{ name, rows, cols }] });
}

/**
 * A matrix in the model's weight format, or in the one that the engine prefers to it.
 * @param parts its rows, in order.
 * @param uses see {@link ParamSpec.separable} and {@link ParamSpec.productsOnly}.
 */
export function matrixParam(
  { g, format: modelFormat }: ModelContext,
  name: string,
  role: Exclude<ParamSpec['role'], 'plain'>,
  parts: readonly ParamPart[],
  format: WeightFormat = modelFormat,
  uses: Pick<ParamSpec, 'separable' | 'productsOnly'> = {},
): Value {
  const [{ cols }] = parts;
  if (parts.some((part) => part.cols !== cols)) throw new GraphError(`the parts of ${name} differ in width`);
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const stored = g.target.weightFormat({ name, role, rows, cols }, format);
  return g.param({ name, shape: [rows, cols], role, format: stored, parts, ...uses });
}
