/**
 * @file Keys and values in float16: half the memory, eleven bits of precision.
 */
import { Plane } from './plane.ts';
import { SlotBuffer, type SlotPlace } from './slot-buffer.ts';

/** 4·D bytes a slot and group. */
export class Float16Buffer extends SlotBuffer {
  readonly #keys: Plane<Uint16Array>;
  readonly #values: Plane<Uint16Array>;

  constructor(batch: number, groups: number, headSize: number) {
    const k = new Plane(Uint16Array, batch, groups, headSize);
    const v = new Plane(Uint16Array, batch, groups, headSize);
    super(headSize, { k, v });
    this.#keys = k;
    this.#values = v;
  }

  override create(): Float16Buffer {
    return new Float16Buffer(this.#keys.batch, this.#keys.groups, this.headSize);
  }

  override write(place: SlotPlace, count: number, source: Float32Array, keyAt: number, valueAt: number): void {
    const at = this.#keys.at(place.row, place.group, place.slot);
    const n = count * this.headSize;
    for (let i = 0; i < n; i++) this.#keys.data[at + i] = floatToHalf(source[keyAt + i]);
    for (let i = 0; i < n; i++) this.#values.data[at + i] = floatToHalf(source[valueAt + i]);
  }

  override readKey(place: SlotPlace, out: Float32Array): void {
    read(this.#keys, place, out);
  }

  override readValue(place: SlotPlace, out: Float32Array): void {
    read(this.#values, place, out);
  }

  override preview(source: Float32Array, from: number, _which: 'key' | 'value', out: Float32Array): void {
    for (let i = 0; i < this.headSize; i++) out[i] = halfToFloat(floatToHalf(source[from + i]));
  }

  override writeKey({ row, group, slot }: SlotPlace, key: Float32Array): void {
    const at = this.#keys.at(row, group, slot);
    for (let i = 0; i < key.length; i++) this.#keys.data[at + i] = floatToHalf(key[i]);
  }
}

function read(plane: Plane<Uint16Array>, { row, group, slot }: SlotPlace, out: Float32Array): void {
  const at = plane.at(row, group, slot);
  for (let i = 0; i < plane.width; i++) out[i] = halfToFloat(plane.data[at + i]);
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
