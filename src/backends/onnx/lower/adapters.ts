/**
 * @file What live adapters add.
 */
import * as onnx from '../ops.ts';
import type { LowerTable } from './context.ts';

export const ADAPTERS: LowerTable = {
  rowVector: (ctx, { inputs: [lines, ids, logitRows], attributes: { over }, outputs: [out] }) => {
    const { g } = ctx;
    const value = ctx.value(lines!); // [B, 1, n]
    if (over === 'tokens') return [value];
    const [B, , width] = value.shape;
    const length = onnx.shapeOf(g, ctx.value(ids!), 1, 2);
    const widths = onnx.shapeOf(g, value, 2, 3);
    const flattened = [g.ints(-1), widths];
    if (over === 'logits') {
      const flat = onnx.reshapeTo(g, value, flattened, [B, width]);
      return [onnx.gather(g, flat, onnx.div(g, ctx.value(logitRows!), length))];
    }
    const [each] = g.node(
      'Expand',
      [value, onnx.concat(g, [g.ints(1), length, g.ints(1)], 0)],
      [{ dtype: 'float32', shape: ['B', 'T', width] }],
    );
    return [onnx.reshapeTo(g, each, flattened, out.shape)];
  },
  lowRank: (ctx, { inputs: [x, a, mask, ranks, ...blocks] }) => {
    const { g } = ctx;
    const each = onnx.matmulTransposed(g, ctx.value(x!), ctx.value(a!));
    const counted = mask ? onnx.mul(g, each, ctx.value(mask)) : each;
    const matrices = blocks.map((block) => ctx.value(block!));
    if (!ranks) return [onnx.matmul(g, counted, matrices[0])];
    const parts = onnx.split(
      g,
      counted,
      -1,
      matrices.map(({ shape }) => shape[0]),
      ctx.value(ranks),
    );
    return [
      onnx.concat(
        g,
        parts.map((part, i) => onnx.matmul(g, part, matrices[i])),
        -1,
      ),
    ];
  },
  lowRankRows: (ctx, { inputs: [ids, b, mask, a] }) => {
    const { g } = ctx;
    const ranks = onnx.gather(g, ctx.value(b!), ctx.value(ids!));
    return [onnx.matmul(g, mask ? onnx.mul(g, ranks, ctx.value(mask)) : ranks, ctx.value(a!))];
  },
};
