/**
 * @file Vectors in float16: half the memory, eleven bits of precision.
 */
import { SlotArray } from './slot-array.ts';
import type { CodecArray, CodecShape, SlotCodec } from './slot-codec.ts';

/** 2 bytes a number. */
export class Float16Codec implements SlotCodec {
  readonly size: number;
  readonly groups: number;
  readonly arrays: readonly CodecArray[];
  readonly #array: SlotArray<Uint16Array>;
  readonly #shape: CodecShape;

  constructor(shape: CodecShape) {
    this.#shape = shape;
    this.size = shape.size;
    this.groups = shape.groups;
    this.#array = new SlotArray(Uint16Array, shape.batch, shape.groups, shape.size);
    this.arrays = [{ suffix: '', array: this.#array }];
  }

  create(): Float16Codec {
    return new Float16Codec({ ...this.#shape, batch: this.#array.batch });
  }

  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void {
    const { data } = this.#array;
    const at = this.#array.at(row, group, slot);
    for (let i = 0; i < count * this.size; i++) data[at + i] = floatToHalf(source[from + i]);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    const { data } = this.#array;
    const at = this.#array.at(row, group, slot);
    for (let i = 0; i < this.size; i++) out[to + i] = halfToFloat(data[at + i]);
  }

  preview(source: Float32Array, from: number, out: Float32Array, to = 0): void {
    for (let i = 0; i < this.size; i++) out[to + i] = halfToFloat(floatToHalf(source[from + i]));
  }
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);
/** What a half can't exceed. */
const LARGEST = 65504;

/** The bits of the half nearest to `x`, ties to even; what is too large becomes the largest, so that nothing turns infinite. */
export function floatToHalf(x: number): number {
  float[0] = Math.min(LARGEST, Math.max(-LARGEST, x));
  const f = bits[0];
  const sign = (f >>> 16) & 0x8000;
  const exponent = (f >>> 23) & 0xff;
  if (exponent === 0xff) return sign | 0x7e00; // only NaN is left up here
  const mantissa = f & 0x7fffff;
  if (exponent >= 113) return sign + roundShift(((exponent - 112) << 23) | mantissa, 13);
  if (exponent < 102) return sign;
  return sign + roundShift(mantissa | 0x800000, 126 - exponent);
}

/** value / 2^shift, to the nearest whole number, ties to even. */
function roundShift(value: number, shift: number): number {
  const whole = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (whole & 1) === 1) ? whole + 1 : whole;
}

/** The number that the bits of a half stand for. */
export function halfToFloat(half: number): number {
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return mantissa ? Number.NaN : half & 0x8000 ? -Infinity : Infinity;
  const size = exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15);
  return half & 0x8000 ? -size : size;
}
