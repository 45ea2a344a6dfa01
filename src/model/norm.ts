/**
 * @file Norms, and the residual stream: a sum whose last addend is still pending is added inside of the next norm.
 */

import { MICROSOFT, type Value } from '../backends/onnx/builder.ts';
import { add } from '../backends/onnx/ops.ts';
import type { NormSpec } from '../config/config.ts';
import { adaptNorm, normIsAdapted } from './adapt.ts';
import type { ModelContext } from './context.ts';

/** Weight (ones where the norm has none) and bias of a norm over `width` values. */
function affine(ctx: ModelContext, spec: NormSpec, name: string, width: number): (Value | null)[] {
  const unitOffset = spec.unitOffset;
  const weight = spec.affine
    ? ctx.plain(`${name}.weight`, [width], [{ name: `${name}.weight`, rows: width, cols: 1, unitOffset }])
    : ctx.g.constant(new Float32Array(width).fill(1), [width]);
  return spec.bias ? [weight, ctx.plain(`${name}.bias`, [width])] : [weight];
}

const bare = (spec: NormSpec): NormSpec => ({ ...spec, affine: false, bias: false });

/** x normalised over its last axis. */
export function norm(ctx: ModelContext, x: Value, spec: NormSpec, name: string): Value {
  if (normIsAdapted(ctx, name)) return adaptNorm(ctx, norm(ctx, x, bare(spec), ''), name, spec.bias);
  const op = spec.kind === 'rms' ? 'SimplifiedLayerNormalization' : 'LayerNormalization';
  const inputs = [x, ...affine(ctx, spec, name, x.shape.at(-1) as number)];
  return ctx.g.node(op, inputs, [x], { attributes: { axis: -1, epsilon: { float: spec.eps } } })[0];
}

/** The residual stream [B, T, E]: `x + pending`. */
export class Residual {
  readonly #ctx: ModelContext;
  #x: Value;
  #pending: Value | null = null;

  constructor(ctx: ModelContext, x: Value) {
    this.#ctx = ctx;
    this.#x = x;
  }

  /** Adds a branch, now or inside of the next norm. */
  add(branch: Value): void {
    this.#x = this.value();
    this.#pending = branch;
  }

  /** The sum as it is. */
  value(): Value {
    if (this.#pending) {
      this.#x = add(this.#ctx.g, this.#x, this.#pending);
      this.#pending = null;
    }
    return this.#x;
  }

  /** The sum, normalised; the sum itself stays the stream. One fused operator where an addend is pending. */
  normed(spec: NormSpec, name: string): Value {
    if (normIsAdapted(this.#ctx, name)) return adaptNorm(this.#ctx, this.normed(bare(spec), ''), name, spec.bias);
    if (!this.#pending) return norm(this.#ctx, this.#x, spec, name);
    const op = spec.kind === 'rms' ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization';
    const inputs = [this.#pending, this.#x, ...affine(this.#ctx, spec, name, this.#x.shape.at(-1) as number)];
    const [out, sum] = this.#ctx.g.node(op, inputs, [this.#x, null, null, this.#x], {
      attributes: { epsilon: { float: spec.eps } },
      domain: MICROSOFT,
    });
    this.#x = sum;
    this.#pending = null;
    return out;
  }

  /** The stream goes on from the normalised sum (norms after the addition). */
  replaceByNormed(spec: NormSpec, name: string): void {
    this.#x = this.normed(spec, name);
  }
}
