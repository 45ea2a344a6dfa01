/**
 * @file How a backend stores parameters: which tensors a parameter becomes, and what bytes its rows become.
 */
import type { BlockRows } from '../checkpoint/types.ts';
import { WeightsError } from '../util/errors.ts';
import { product } from '../util/numbers.ts';
import { blockBytes, QUANT_BLOCK, QUANTISER_VERSION, type QuantBits, quantizeRows } from './formats/quantize.ts';
import type { ParamSpec, StoredParam, WeightFormat } from './types.ts';

/** A tensor that a parameter becomes. */
export type StoredPart = Pick<StoredParam, 'name' | 'dtype' | 'shape' | 'refined' | 'layout'> & {
  /** In bytes; a multiple of the parameter's rows. */
  readonly length: number;
};

export interface WeightCodec {
  /**
   * Whether rows in this format of a checkpoint can be kept as they are: see {@link ParamSpec.stored}.
   * @default none can
   */
  keeps?(format: BlockRows['format']): boolean;
  /**
   * Whether rows in this format may be kept where f16 is wanted: products with them can be as exact. @default none may
   */
  refines?(format: BlockRows['format']): boolean;
  /** Stands in the key of prepared weights: changes whenever the same weights would be stored otherwise. */
  readonly id: string;
  /** The tensors of a parameter, in the order of {@link encode}. */
  parts(spec: ParamSpec): readonly StoredPart[];
  /**
   * Rows of a parameter as bytes, one array for each tensor; one for all of them where {@link arrange} makes the others.
   * @param values [rows, cols]
   */
  encode(
    spec: ParamSpec,
    values: Float32Array,
    rows: number,
    cols: number,
  ): readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /**
   * Puts rows in the layout of {@link StoredPart.layout} of each tensor.
   * @param bytes of the rows as {@link encode} gives them, or as a checkpoint stores them.
   * @param rows a multiple of {@link arrangedRows}, but for the last of a parameter.
   * @default the tensors are what {@link encode} gives
   */
  arrange?(spec: ParamSpec, bytes: Uint8Array, rows: number, cols: number): readonly Uint8Array[];
  /** Rows that a layout puts together. @default 1 */
  readonly arrangedRows?: number;
  /** Whether matrices of a model in `int4` get formats one by one. @default false */
  readonly mixes?: boolean;
}

/** @throws WeightsError for a format that is not in blocks with scales apart. */
export function bitsOf(format: WeightFormat): QuantBits {
  if (format === 'int8') return 8;
  if (format === 'int4') return 4;
  throw new WeightsError(`${format} has no blocks with scales apart`);
}

/** Name of the scales of a quantized parameter. */
export const scaleName = (name: string): string => `${name}.scale`;

/** float32 as it is, or blocks of 32 values apart from their scales: what ONNX Runtime's operators read. */
export const scaledBlocks: WeightCodec = {
  id: `blocks ${QUANTISER_VERSION}`,
  parts({ name, shape, format }) {
    if (format === 'float32') return [{ name, dtype: 'float32', shape, length: 4 * product(shape) }];
    const [rows, cols] = shape;
    const blocks = Math.ceil(cols / QUANT_BLOCK);
    const packed = [rows, blocks, blockBytes(bitsOf(format))];
    return [
      { name, dtype: 'uint8', shape: packed, length: product(packed) },
      { name: scaleName(name), dtype: 'float32', shape: [rows, blocks], length: 4 * rows * blocks },
    ];
  },
  encode({ format }, values, rows, cols) {
    if (format === 'float32') return [bytesOf(values)];
    const bits = bitsOf(format);
    const blocks = rows * Math.ceil(cols / QUANT_BLOCK);
    const packed = new Uint8Array(blocks * blockBytes(bits));
    const scales = new Float32Array(blocks);
    quantizeRows(values, rows, cols, bits, packed, scales);
    return [packed, bytesOf(scales)];
  },
};

/** The memory of numbers. */
export function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
