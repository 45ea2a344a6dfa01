/**
 * @file Where each parameter lies in the prepared weights.
 */
import { blockBytes, QUANT_BLOCK, type QuantBits } from './quantise.ts';
import type { ParamSpec, StoredParam, WeightFormat } from './types.ts';

/** Offsets are multiples of this, as wide vector loads like it. */
const ALIGNMENT = 64;

export const FORMAT_BITS: Readonly<Record<Exclude<WeightFormat, 'float32'>, QuantBits>> = { int8: 8, int4: 4 };

export interface WeightLayout {
  readonly params: ReadonlyMap<string, StoredParam>;
  /** In bytes. */
  readonly size: number;
}

/** Name of the scales of a quantised parameter. */
export const scaleName = (name: string): string => `${name}.scale`;

/** Lays parameters out behind each other. A quantised one takes two places: its packed values and its scales. */
export function layOut(specs: readonly ParamSpec[]): WeightLayout {
  const params = new Map<string, StoredParam>();
  let size = 0;
  const place = (name: string, dtype: StoredParam['dtype'], shape: readonly number[]) => {
    const length = shape.reduce((a, b) => a * b, 1) * (dtype === 'float32' ? 4 : 1);
    params.set(name, { name, dtype, shape, offset: size, length });
    size = Math.ceil((size + length) / ALIGNMENT) * ALIGNMENT;
  };
  for (const { name, shape, format } of specs) {
    if (format === 'float32') {
      place(name, 'float32', shape);
      continue;
    }
    const [rows, cols] = shape;
    const blocks = Math.ceil(cols / QUANT_BLOCK);
    place(name, 'uint8', [rows, blocks, blockBytes(FORMAT_BITS[format])]);
    place(scaleName(name), 'float32', [rows, blocks]);
  }
  return { params, size };
}
