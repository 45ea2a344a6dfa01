/**
 * @file Alternating updates (AltUp, arXiv 2301.13310), as Gemma 3n has them: a token has n streams, and each layer
 * computes the first of them alone. Before a layer all streams are predicted from all; after it each is corrected by
 * what the layer changed.
 *
 * Parameters: `alt_up_in.I` and `alt_up_out.I` (E to E) of each stream but the first; of a layer
 * `h.L.alt_up.router_norm`, `.router` (E to n), `.predict` (n to n·n), `.correct` (n to n), `.scale` [E].
 */
import { add, clip, concat, div, mul, reduceSum, reshape, scalar, scale, split, sub, unary } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import { range } from '../util/numbers.ts';
import { type AlternatingUpdates, type ModelContext, plainParam } from './context.ts';
import { linear, linearOf } from './linear.ts';
import { norm } from './norm.ts';
import { gatedInput } from './per-layer.ts';

/** Least mean of squares that a vector is divided by, and what no mean is above. */
const MEAN_LIMITS = [1e-5, 3e38] as const;

export class AltUp implements AlternatingUpdates {
  readonly #ctx: ModelContext;
  readonly #count: number;
  readonly #scalesFirst: boolean;
  /** [B, T, n, E] */
  #streams: Value;

  /** @param x [B, T, E], what enters the first layer. */
  constructor(ctx: ModelContext, x: Value, spec: { readonly count: number; readonly scalesFirst: boolean }) {
    const { g, config } = ctx;
    const { nEmbd: E } = config;
    this.#ctx = ctx;
    this.#count = spec.count;
    this.#scalesFirst = spec.scalesFirst;
    const more = spec.count - 1;
    const parts = range(more).map((i) => ({ name: `alt_up_in.${i}`, out: E }));
    const made = reshape(g, linear(ctx, x, 'alt_up_in', parts), [0, 0, more, E], [x.shape[0], x.shape[1], more, E]);
    const first = this.#apart(x);
    this.#streams = concat(g, [first, this.#asLargeAs(first, made)], 2);
  }

  /** Predicts the streams; the layer is to compute the one that is returned. */
  enter(layer: number): Value {
    const ctx = this.#ctx;
    const { g } = ctx;
    const n = this.#count;
    const before = this.#each(this.#streams); // [B, T, 1, E]
    const factors = linearOf(ctx, this.#modalities(layer, this.#flat(before[0])), `h.${layer}.alt_up.predict`, n * n, {
      format: 'float32',
    });
    const [B, T] = factors.shape;
    const columns = split(g, reshape(g, factors, [0, 0, n, n], [B, T, n, n]), -1, new Array<number>(n).fill(1));
    // Stream j becomes itself + Σ factors[j, i] · stream i.
    for (const [i, column] of columns.entries()) this.#streams = add(g, this.#streams, mul(g, column, before[i]));
    return this.#flat(this.#each(this.#streams)[0]);
  }

  /**
   * Corrects the streams.
   * @param y [B, T, E], what the layer made of the first.
   * @param input of the layer and its token [B, T, P].
   */
  leave(layer: number, y: Value, input: Value | undefined): void {
    const ctx = this.#ctx;
    const { g, config } = ctx;
    const n = this.#count;
    const name = `h.${layer}.alt_up`;
    const change = sub(g, this.#apart(y), this.#each(this.#streams)[0]);
    const made = linearOf(ctx, this.#modalities(layer, y), `${name}.correct`, n, { format: 'float32' });
    const factors = add(g, made, scalar(g, 1));
    const [B, T] = factors.shape;
    const column = reshape(g, factors, [0, 0, n, 1], [B, T, n, 1]);
    const corrected = add(g, this.#streams, mul(g, column, change));
    this.#streams = corrected;
    if (!input) return;
    const [first, others] = split(g, corrected, 2, [1, n - 1]);
    const read = this.#scalesFirst
      ? mul(g, this.#flat(first), plainParam(ctx, `${name}.scale`, [config.nEmbd]))
      : this.#flat(first);
    const end = this.#apart(gatedInput(ctx, read, layer, input));
    this.#streams = concat(g, [first, add(g, others, end)], 2);
  }

  /** The mean of all streams, as they leave the last layer [B, T, E]. */
  merged(): Value {
    const ctx = this.#ctx;
    const { g } = ctx;
    const { nEmbd: E } = ctx.config;
    const [first, ...others] = this.#each(this.#streams);
    const made = others.map((other, i) => this.#apart(linearOf(ctx, this.#flat(other), `alt_up_out.${i}`, E)));
    const sum = [first, ...made.map((value) => this.#asLargeAs(first, value))].reduce((a, b) => add(g, a, b));
    return scale(g, this.#flat(sum), 1 / this.#count);
  }

  /** How much each stream counts for a token [B, T, n]. @param x [B, T, E] */
  #modalities(layer: number, x: Value): Value {
    const ctx = this.#ctx;
    const { g, config } = ctx;
    const name = `h.${layer}.alt_up`;
    const read = scale(g, norm(ctx, x, config.norm, `${name}.router_norm`), 1 / config.nEmbd);
    return unary(g, 'tanh', linearOf(ctx, read, `${name}.router`, this.#count, { format: 'float32' }));
  }

  /** `x` [B, T, ·, E] with the root mean square of `like` [B, T, 1, E]. */
  #asLargeAs(like: Value, x: Value): Value {
    const { g } = this.#ctx;
    const { nEmbd: E } = this.#ctx.config;
    const mean = (value: Value) => scale(g, reduceSum(g, mul(g, value, value), -1), 1 / E);
    const own = unary(g, 'sqrt', clip(g, mean(x), ...MEAN_LIMITS));
    return mul(g, x, div(g, unary(g, 'sqrt', mean(like)), own));
  }

  /** [B, T, E] as [B, T, 1, E] */
  #apart(x: Value): Value {
    const [B, T, E] = x.shape;
    return reshape(this.#ctx.g, x, [0, 0, 1, E as number], [B, T, 1, E]);
  }

  /** [B, T, 1, E] as [B, T, E] */
  #flat(x: Value): Value {
    const [B, T, , E] = x.shape;
    return reshape(this.#ctx.g, x, [0, 0, E as number], [B, T, E]);
  }

  /** The streams one by one [B, T, 1, E]. */
  #each(x: Value): Value[] {
    return split(this.#ctx.g, x, 2, new Array<number>(this.#count).fill(1));
  }
}
