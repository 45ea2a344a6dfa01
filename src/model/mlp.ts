/**
 * @file Feed-forward layers without experts.
 */
import type { GatedMlp, PlainMlp } from '../config/mlp-spec.ts';
import { add, clip, mul, reduceSum, scalar, scale, split, sub, unary, xielu } from '../ops/basic.ts';
import type { OpGraph } from '../ops/graph.ts';
import type { Value } from '../ops/types.ts';
import { normalQuantile } from '../util/numbers.ts';
import { type ModelContext, plainParam } from './context.ts';
import { linear, linearOf } from './linear.ts';

/** An MLP that every token goes through. @param x [..., E] */
export function denseMlp(ctx: ModelContext, x: Value, spec: PlainMlp | GatedMlp, name: string): Value {
  return spec.kind === 'plain' ? plainMlp(ctx, x, spec, name) : gatedMlp(ctx, x, spec, name);
}

/** proj(act(fc(x))) */
function plainMlp(ctx: ModelContext, x: Value, { size, bias, activation }: PlainMlp, name: string): Value {
  const { g } = ctx;
  const inner = linearOf(ctx, x, `${name}.fc`, size, { bias });
  const learned = (part: string) => plainParam(ctx, `${name}.act.${part}`, [1]);
  const hidden =
    activation === 'xielu'
      ? xielu(g, inner, learned('alpha_p'), learned('alpha_n'), learned('beta'), learned('eps'))
      : unary(g, activation, inner);
  return linearOf(ctx, hidden, `${name}.proj`, widthOf(x), { bias });
}

/**
 * GPT-OSS's gated MLP: gate = fc_1(x) at most `limit`, up = fc_2(x) within ±limit;
 * proj((up + 1) · gate · σ(1.702 · gate)).
 */
export function clampedMlp(
  ctx: ModelContext,
  x: Value,
  { size, bias, limit }: { readonly size: number; readonly bias: boolean; readonly limit: number },
  name: string,
): Value {
  const { g } = ctx;
  const parts = ['fc_1', 'fc_2'].map((part) => ({ name: `${name}.${part}`, out: size }));
  const [first, second] = split(g, linear(ctx, x, `${name}.fc_12`, parts, { bias }), -1, [size, size]);
  const gate = unary(g, 'quick-gelu', clip(g, first, -NO_LIMIT, limit));
  const up = add(g, clip(g, second, -limit, limit), scalar(g, 1));
  return linearOf(ctx, mul(g, gate, up), `${name}.proj`, widthOf(x), { bias });
}

/** An MLP gives vectors as wide as those that it reads. */
const widthOf = (x: Value): number => x.shape.at(-1) as number;

/** Beyond every number that a model makes. */
const NO_LIMIT = 3e38;

/** proj(act(fc_1(x)) · fc_2(x)), with fc_1 and fc_2 as one packed matrix. @param x [..., E] */
function gatedMlp(ctx: ModelContext, x: Value, spec: Omit<GatedMlp, 'kind'>, name: string): Value {
  const { size, bias, activation, scales = { gate: 1, out: 1 }, sparsity = 0 } = spec;
  const { g } = ctx;
  const parts = ['fc_1', 'fc_2'].map((part) => ({ name: `${name}.${part}`, out: size }));
  const [first, up] = split(g, linear(ctx, x, `${name}.fc_12`, parts, { bias }), -1, [size, size]);
  const gate = sparsity > 0 ? largestOnly(g, first, size, sparsity) : first;
  const hidden = mul(g, unary(g, activation, scale(g, gate, scales.gate)), up);
  return scale(g, linearOf(ctx, hidden, `${name}.proj`, widthOf(x), { bias }), scales.out);
}

/** relu(x - cut), where `share` of normally distributed numbers lie below the cut. @param x [B, T, F] */
function largestOnly(g: OpGraph, x: Value, size: number, share: number): Value {
  const mean = scale(g, reduceSum(g, x, -1), 1 / size);
  const centred = sub(g, x, mean);
  const deviation = unary(g, 'sqrt', scale(g, reduceSum(g, mul(g, centred, centred), -1), 1 / size));
  return unary(g, 'relu', sub(g, centred, scale(g, deviation, normalQuantile(share))));
}
