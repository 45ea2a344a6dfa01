/**
 * @file Matrices: linear layers and the embedding, in every weight format.
 */
import { type Dim, MICROSOFT, type Value } from '../backends/onnx/builder.ts';
import { add, gather, matmulTransposed } from '../backends/onnx/ops.ts';
import { FORMAT_BITS, scaleName } from '../weights/codec.ts';
import { blockBytes, QUANT_BLOCK } from '../weights/quantise.ts';
import type { WeightFormat } from '../weights/types.ts';
import { adaptEmbedding, adaptLinear } from './adapt.ts';
import type { ModelContext } from './context.ts';

/** MatMulNBits: quantise the activations to 8 bits and multiply integers, by far the fastest on CPUs. */
const ACCURACY_INT8 = 4;

/** A module whose rows are a part of a packed linear layer. */
export interface LinearPart {
  /** Without `.weight`. */
  readonly name: string;
  readonly out: number;
}

/**
 * y = x · Wᵀ (+ b), with the rows of several modules packed into one matrix.
 * @param x [..., in]
 * @param name name of the packed parameter, without `.weight`.
 * @param format the model's weight format unless stated.
 * @param place what adapters know the layer by, where another shares its matrix.
 * @returns [..., Σ out]
 */
export function linear(
  ctx: ModelContext,
  x: Value,
  name: string,
  parts: readonly LinearPart[],
  bias = false,
  format: WeightFormat = ctx.format,
  place: string = name,
): Value {
  return adaptLinear(ctx, x, product(ctx, x, name, parts, bias, format), place);
}

function product(
  ctx: ModelContext,
  x: Value,
  name: string,
  parts: readonly LinearPart[],
  bias: boolean,
  format: WeightFormat,
): Value {
  const { g } = ctx;
  const cols = x.shape.at(-1) as number;
  const out = parts.reduce((sum, part) => sum + part.out, 0);
  const b = bias
    ? ctx.plain(
        `${name}.bias`,
        [out],
        parts.map((part) => ({ name: `${part.name}.bias`, rows: part.out, cols: 1 })),
      )
    : null;
  const matrix = ctx.declare({
    name: `${name}.weight`,
    shape: [out, cols],
    role: 'linear',
    format,
    parts: parts.map((part) => ({ name: `${part.name}.weight`, rows: part.out, cols })),
  });
  const shape: Dim[] = [...x.shape.slice(0, -1), out];
  if (matrix.format === 'float32') {
    const y = { ...matmulTransposed(g, x, g.external(matrix.name, 'float32', matrix.shape)), shape };
    return b ? add(g, y, b) : y;
  }
  const bits = FORMAT_BITS[matrix.format];
  const blocks = Math.ceil(cols / QUANT_BLOCK);
  const packed = g.external(matrix.name, 'uint8', [out, blocks, blockBytes(bits)]);
  const scale = g.external(scaleName(matrix.name), 'float32', [out * blocks]);
  const inputs = b ? [x, packed, scale, null, null, b] : [x, packed, scale];
  const attributes = { K: cols, N: out, bits, block_size: QUANT_BLOCK, accuracy_level: ACCURACY_INT8 };
  return g.node('MatMulNBits', inputs, [{ dtype: 'float32', shape }], { attributes, domain: MICROSOFT })[0];
}

/** A second view of the same bytes gets this suffix: gathering wants another shape than multiplying. */
export const ROWS_VIEW = '@rows';

/**
 * Rows of the embedding table.
 * @param ids int64 [B, T]
 * @returns [B, T, width]
 */
export function embedding(ctx: ModelContext, ids: Value, name: string, rows: number, width: number): Value {
  const { g } = ctx;
  const format = width % QUANT_BLOCK === 0 ? ctx.format : 'float32';
  const full = `${name}.weight`;
  ctx.declare({
    name: full,
    shape: [rows, width],
    role: 'embedding',
    format,
    parts: [{ name: full, rows, cols: width }],
  });
  const adapted = (y: Value) => adaptEmbedding(ctx, ids, y, name, rows);
  if (format === 'float32') return adapted(gather(g, g.external(full, 'float32', [rows, width]), ids));
  const bits = FORMAT_BITS[format];
  const packed = g.external(full + ROWS_VIEW, 'uint8', [rows, (width * bits) / 8]);
  const scale = g.external(scaleName(full) + ROWS_VIEW, 'float32', [rows, width / QUANT_BLOCK]);
  const attributes = { bits, block_size: QUANT_BLOCK, gather_axis: 0, quantize_axis: 1 };
  const out = { dtype: 'float32' as const, shape: [...ids.shape, width] };
  return adapted(g.node('GatherBlockQuantized', [packed, ids, scale], [out], { attributes, domain: MICROSOFT })[0]);
}
