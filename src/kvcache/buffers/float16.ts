/**
 * @file Vectors in float16: half the memory, eleven bits of precision.
 */
import { halfValues, toFloat16 } from '../../util/half.ts';
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
    this.#array.wrote(row, group, slot, count);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    const { data } = this.#array;
    const at = this.#array.at(row, group, slot);
    for (let i = 0; i < this.size; i++) out[to + i] = halfToFloat(data[at + i]);
  }

  preview(_group: number, source: Float32Array, from: number, out: Float32Array, to = 0): void {
    for (let i = 0; i < this.size; i++) out[to + i] = halfToFloat(floatToHalf(source[from + i]));
  }
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);
/** What a half can't exceed. */
const LARGEST = 65504;

/**
 * The bits of the half nearest to `x`, ties to even; what is too large becomes the largest, so that nothing turns
 * infinite.
 */
export function floatToHalf(x: number): number {
  float[0] = Math.min(LARGEST, Math.max(-LARGEST, x));
  return toFloat16(bits[0]);
}

/** The number that the bits of a half stand for. */
export function halfToFloat(half: number): number {
  return halfValues()[half];
}
