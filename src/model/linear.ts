/**
 * @file Linear layers and the embedding, with the hooks of adapters.
 */
import { embed, linear as product } from '../ops/layers.ts';
import type { Value } from '../ops/types.ts';
import type { WeightFormat } from '../weights/types.ts';
import { adaptEmbedding, adaptLinear } from './adapt.ts';
import { type ModelContext, matrixParam, plainParam } from './context.ts';

/** A module whose rows are a part of a packed linear layer. */
export interface LinearPart {
  /** Without `.weight`. */
  readonly name: string;
  readonly out: number;
}

export interface LinearOptions {
  /** @default false */
  readonly bias?: boolean;
  /** @default the model's weight format */
  readonly format?: WeightFormat;
  /** The name that adapters use, where another layer shares its matrix. @default the layer's name */
  readonly hook?: string;
}

/**
 * y = x · Wᵀ (+ b), with the rows of several modules packed into one matrix.
 * @param x [..., in]
 * @param name of the packed parameter, without `.weight`.
 * @returns [..., Σ out]
 */
export function linear(
  ctx: ModelContext,
  x: Value,
  name: string,
  parts: readonly LinearPart[],
  { bias = false, format = ctx.format, hook = name }: LinearOptions = {},
): Value {
  const cols = x.shape.at(-1) as number;
  const weights = parts.map((part) => ({ name: `${part.name}.weight`, rows: part.out, cols }));
  const uses = { productsOnly: true, ...(parts.length > 1 ? { separable: true } : {}) };
  const weight = matrixParam(ctx, `${name}.weight`, 'linear', weights, { format, ...uses });
  const biases = parts.map((part) => ({ name: `${part.name}.bias`, rows: part.out, cols: 1 }));
  const b = bias ? plainParam(ctx, `${name}.bias`, [weight.shape[0] as number], biases) : null;
  return adaptLinear(ctx, x, product(ctx.g, x, weight, b), hook);
}

/** A linear layer of one module. */
export function linearOf(ctx: ModelContext, x: Value, name: string, out: number, options: LinearOptions = {}): Value {
  return linear(ctx, x, name, [{ name, out }], options);
}

/** Rows of the embedding table. @param ids int64 [B, T]. @returns [B, T, width] */
export function embedding(ctx: ModelContext, ids: Value, name: string, rows: number, width: number): Value {
  const full = `${name}.weight`;
  const table = matrixParam(ctx, full, 'embedding', [{ name: full, rows, cols: width }]);
  return adaptEmbedding(ctx, ids, embed(ctx.g, ids, table), name, rows);
}
