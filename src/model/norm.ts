/**
 * @file Norms, and the residual stream: a sum whose last addend is added inside of the next norm.
 */
import type { NormSpec } from '../config/norm-spec.ts';
import { add } from '../ops/basic.ts';
import { addNorm, norm as normalize } from '../ops/layers.ts';
import type { Value } from '../ops/types.ts';
import { adaptNorm, normIsAdapted } from './adapt.ts';
import { type ModelContext, plainParam } from './context.ts';

/** Weight and bias of a norm over `width` values. */
function affine(ctx: ModelContext, spec: NormSpec, name: string, width: number): [Value | null, Value | null] {
  const { unitOffset } = spec;
  const part = { name: `${name}.weight`, rows: width, cols: 1, unitOffset };
  return [
    spec.affine ? plainParam(ctx, `${name}.weight`, [width], [part]) : null,
    spec.bias ? plainParam(ctx, `${name}.bias`, [width]) : null,
  ];
}

/** The norm without weight and bias. */
export function bareNorm(spec: NormSpec): NormSpec {
  return { ...spec, affine: false, bias: false };
}

/** x normalized over its last axis. */
export function norm(ctx: ModelContext, x: Value, spec: NormSpec, name: string): Value {
  if (normIsAdapted(ctx, name)) return adaptNorm(ctx, norm(ctx, x, bareNorm(spec), ''), name, spec.bias);
  const [weight, bias] = affine(ctx, spec, name, x.shape.at(-1) as number);
  return normalize(ctx.g, x, weight, bias, { kind: spec.kind, eps: spec.eps });
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

  /** The sum. */
  value(): Value {
    if (this.#pending) {
      this.#x = add(this.#ctx.g, this.#x, this.#pending);
      this.#pending = null;
    }
    return this.#x;
  }

  /** The sum, normalized; the stream itself is unchanged. One operator where an addend is pending. */
  normed(spec: NormSpec, name: string): Value {
    const ctx = this.#ctx;
    if (normIsAdapted(ctx, name)) return adaptNorm(ctx, this.normed(bareNorm(spec), ''), name, spec.bias);
    if (!this.#pending) return norm(ctx, this.#x, spec, name);
    const [weight, bias] = affine(ctx, spec, name, this.#x.shape.at(-1) as number);
    const [out, sum] = addNorm(ctx.g, this.#pending, this.#x, weight, bias, { kind: spec.kind, eps: spec.eps });
    this.#x = sum;
    this.#pending = null;
    return out;
  }

  /** The stream continues from another value. */
  replace(x: Value): void {
    this.#x = x;
    this.#pending = null;
  }

  /** The stream continues from the normalized sum. */
  replaceByNormed(spec: NormSpec, name: string): void {
    this.#x = this.normed(spec, name);
  }
}
