/**
 * @file What ends a layer of Gemma 3n and Gemma 4: a vector of the token and the layer that is gated into the stream,
 * and a factor of the stream.
 *
 * Parameters: `wte_layers` [rows, L·P], `per_layer_in` (E to L·P), `per_layer_norm` [P]; of a layer
 * `h.L.per_layer.gate` (E to P), `.proj` (P to E), `h.L.per_layer_norm`, `h.L.out.scale` [1].
 */
import { add, mul, reshape, scale, split, unary } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import { type ModelContext, plainParam, type Stream } from './context.ts';
import { embedding, linearOf } from './linear.ts';
import { norm } from './norm.ts';

/**
 * The vectors [B, T, P] of each layer, of a model that has a table of them.
 * @param x [B, T, E], what enters the first layer.
 */
export function perLayerInputs(ctx: ModelContext, ids: Value, x: Value): readonly Value[] {
  const { g, config } = ctx;
  const { nLayer: L, nEmbd: E } = config;
  const { rows, size: P } = config.perLayerInput!;
  const [B, T] = x.shape;
  const table = scale(g, embedding(ctx, ids, 'wte_layers', rows, L * P), Math.sqrt(P));
  const projected = scale(g, linearOf(ctx, x, 'per_layer_in', L * P), E ** -0.5);
  const normed = norm(ctx, reshape(g, projected, [0, 0, L, P], [B, T, L, P]), config.norm, 'per_layer_norm');
  const both = add(g, reshape(g, normed, [0, 0, L * P], [B, T, L * P]), table);
  return split(g, scale(g, both, Math.SQRT1_2), -1, new Array<number>(L).fill(P));
}

/** What the vector of a token and a layer adds [B, T, E]. @param x [B, T, E]. @param input [B, T, P] */
export function gatedInput(ctx: ModelContext, x: Value, layer: number, input: Value): Value {
  const { g, config } = ctx;
  const name = `h.${layer}`;
  const made = linearOf(ctx, x, `${name}.per_layer.gate`, input.shape[2] as number);
  const gate = unary(g, config.activation, made);
  const y = linearOf(ctx, mul(g, gate, input), `${name}.per_layer.proj`, config.nEmbd);
  return norm(ctx, y, config.norm, `${name}.per_layer_norm`);
}

/** @param input [B, T, P] of this layer. */
export function endLayer(ctx: ModelContext, stream: Stream, layer: number, input: Value | undefined): void {
  const { g, config } = ctx;
  if (input) stream.add(gatedInput(ctx, stream.value(), layer, input));
  if (config.layers[layer].outScale)
    stream.replace(mul(g, stream.value(), plainParam(ctx, `h.${layer}.out.scale`, [1])));
}
