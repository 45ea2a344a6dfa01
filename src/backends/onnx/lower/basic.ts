/**
 * @file Elementwise operators, shapes and rows.
 */
import type { UnaryKind } from '../../../ops/types.ts';
import type { GraphBuilder, Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerTable } from './context.ts';

const UNARY: Readonly<Record<UnaryKind, (g: GraphBuilder, x: Value) => Value>> = {
  silu: onnx.silu,
  gelu: onnx.gelu,
  'gelu-tanh': onnx.geluTanh,
  'quick-gelu': onnx.quickGelu,
  relu: onnx.relu,
  relu2: (g, x) => {
    const y = onnx.relu(g, x);
    return onnx.mul(g, y, y);
  },
  tanh: onnx.tanh,
  sigmoid: onnx.sigmoid,
  softplus: onnx.softplus,
  exp: onnx.exp,
  neg: onnx.neg,
  sqrt: onnx.sqrt,
};

function activate(g: GraphBuilder, kind: UnaryKind, x: Value): Value {
  return UNARY[kind](g, x);
}

const BINARY = { add: onnx.add, sub: onnx.sub, mul: onnx.mul, div: onnx.div } as const;

/** cap · tanh(x / cap) */
export function capped(g: GraphBuilder, x: Value, cap: number | null): Value {
  return cap === null ? x : onnx.mul(g, onnx.tanh(g, onnx.div(g, x, g.scalar(cap))), g.scalar(cap));
}

/** See {@link OpAttributes.xielu}. Parameters have one element each. */
function xielu(g: GraphBuilder, [x, alphaP, alphaN, beta, eps]: readonly Value[]): Value {
  const positive = onnx.mul(g, onnx.mul(g, x, x), onnx.softplus(g, alphaP));
  const least = onnx.where(g, onnx.less(g, x, eps), x, eps);
  const curve = onnx.sub(g, onnx.sub(g, onnx.exp(g, least), g.scalar(1)), x);
  const negative = onnx.mul(g, curve, onnx.add(g, beta, onnx.softplus(g, alphaN)));
  return onnx.add(g, onnx.where(g, onnx.greater(g, x, g.scalar(0)), positive, negative), onnx.mul(g, x, beta));
}

export const BASIC: LowerTable = {
  xielu: (ctx, { inputs }) => [
    xielu(
      ctx.g,
      inputs.map((value) => ctx.value(value!)),
    ),
  ],
  unary: (ctx, { inputs: [x], attributes: { kind } }) => [activate(ctx.g, kind, ctx.value(x!))],
  binary: (ctx, { inputs: [a, b], attributes: { kind } }) => [BINARY[kind](ctx.g, ctx.value(a!), ctx.value(b!))],
  scale: (ctx, { inputs: [x], attributes: { factor } }) => [onnx.mul(ctx.g, ctx.value(x!), ctx.g.scalar(factor))],
  softcap: (ctx, { inputs: [x], attributes: { cap } }) => [capped(ctx.g, ctx.value(x!), cap)],
  clip: (ctx, { inputs: [x], attributes: { low, high } }) => [onnx.clip(ctx.g, ctx.value(x!), low, high)],
  reshape: (ctx, { inputs: [x], attributes: { target }, outputs: [out] }) => [
    onnx.reshape(ctx.g, ctx.value(x!), target, out.shape),
  ],
  tokensLike: (ctx, { inputs: [x, like], outputs: [out] }) => {
    const { g } = ctx;
    const size = onnx.shapeOf(g, ctx.value(like!), 0, 2);
    return [onnx.reshapeTo(g, ctx.value(x!), [size, g.ints(out.shape[2] as number)], out.shape)];
  },
  zerosLike: (ctx, { inputs: [x] }) => [onnx.filledLike(ctx.g, ctx.value(x!), 0)],
  transpose: (ctx, { inputs: [x], attributes: { perm } }) => [onnx.transpose(ctx.g, ctx.value(x!), perm)],
  split: (ctx, { inputs: [x], attributes: { axis, lengths } }) => onnx.split(ctx.g, ctx.value(x!), axis, lengths),
  concat: (ctx, { inputs, attributes: { axis } }) => [
    onnx.concat(
      ctx.g,
      inputs.map((x) => ctx.value(x!)),
      axis,
    ),
  ],
  gatherRows: (ctx, { inputs: [table, index] }) => [onnx.gather(ctx.g, ctx.value(table!), ctx.value(index!))],
  reduceSum: (ctx, { inputs: [x], attributes: { axis } }) => [onnx.reduceSum(ctx.g, ctx.value(x!), axis)],
};
