/**
 * @file Operators with a state: the short convolution and the linear recurrence.
 */
import { range } from '../../../util/numbers.ts';
import type { GraphBuilder, Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerTable } from './context.ts';

/** Rows of x [B, ·, W] at `times` [B, S] of its second axis → [B, S, W]. */
function takeTimes(g: GraphBuilder, x: Value, times: Value): Value {
  const [B, , W] = x.shape;
  const index = onnx.reshape(g, times, [0, -1, 1], [B, 'S', 1]);
  const out = { dtype: x.dtype, shape: [B, 'S', W] };
  return g.node('GatherND', [x, index], [out], { attributes: { batch_dims: 1 } })[0];
}

export const STATES: LowerTable = {
  convolve: (ctx, { inputs: [state, x, weight, bias, times] }) => {
    const { g } = ctx;
    const value = ctx.value(x!);
    const [K, W] = weight!.shape as number[];
    const [B, T] = value.shape;
    const padded = onnx.concat(g, [ctx.value(state!), value], 1); // [B, K - 1 + T, W]
    const taps = onnx.split(
      g,
      ctx.value(weight!),
      0,
      range(K).map(() => 1),
    );
    const length = onnx.sub(g, onnx.shapeOf(g, padded, 1, 2), g.ints(K - 1));
    const out = { dtype: 'float32' as const, shape: [B, T, W] };
    let sum = ctx.optional(bias);
    for (const [i, tap] of taps.entries()) {
      const end = i === 0 ? length : onnx.add(g, length, g.ints(i));
      const [piece] = g.node('Slice', [padded, g.ints(i), end, g.ints(1)], [out]);
      const product = onnx.mul(g, piece, tap);
      sum = sum ? onnx.add(g, product, sum) : product;
    }
    const at = ctx.value(times!);
    const tails = range(K - 1).map((i) => {
      const rows = takeTimes(g, padded, i === 0 ? at : onnx.add(g, at, g.ints(i))); // [B, S, W]
      return onnx.reshape(g, rows, [0, 0, 1, W], [B, 'S', 1, W]);
    });
    return [sum!, onnx.concat(g, tails, 2)];
  },
  linearScan: (ctx, { inputs: [state, decay, input, times] }) => {
    const { g } = ctx;
    const h = ctx.value(state!);
    const [B, W] = h.shape;
    const sequences = [ctx.value(decay!), ctx.value(input!)];
    const states = g.scan(h, sequences, 1, (before, [a, b]) => onnx.add(g, onnx.mul(g, a, before), b)); // [B, T, W]
    const first = onnx.reshape(g, h, [0, 1, W as number], [B, 1, W]);
    const all = onnx.reshape(g, onnx.concat(g, [first, states], 1), [0, -1, W as number], [B, 'T+1', W]);
    return [states, takeTimes(g, all, ctx.value(times!))];
  },
  startMask: (ctx, { inputs: [positions] }) => {
    const { g } = ctx;
    const [B, T] = positions!.shape;
    const starts = onnx.cast(g, onnx.equal(g, ctx.positions(positions!), g.scalar(0)), 'float32');
    return [onnx.reshape(g, starts, [0, -1, 1], [B, T, 1])];
  },
};
