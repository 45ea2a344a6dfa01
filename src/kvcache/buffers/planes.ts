/**
 * @file Vectors in 8 or 4 bits, numbers and scales in arrays of their own: what ONNX Runtime multiplies without a copy.
 */
import { SlotArray } from './slot-array.ts';
import type { CodecArray, CodecShape, SlotCodec } from './slot-codec.ts';

/** Dimensions of a key that share a scale, where the head can be divided so. */
const BLOCK = 32;

/** How many scales a key has: one for every 32 dimensions, or one for the whole head where 32 does not divide it. */
export function keyScales(size: number): number {
  return size % BLOCK === 0 && size > 0 ? size / BLOCK : 1;
}

export type SlotBits = 8 | 4;

/** The smallest number that float32 has in full precision. */
const SMALLEST = 2 ** -126;

/** The byte that stands for 0. */
export const ZERO_POINT: Readonly<Record<SlotBits, number>> = { 8: 128, 4: 8 };

/**
 * Symmetric quantization, x ≈ scale · (byte − zero point). Keys are the more sensitive half: they have a scale for every 32
 * dimensions, along the head and not along the tokens, so that slots may change one by one. Values have one scale a token, which the
 * graph multiplies into the attention weights.
 *
 * Four bits: byte i of a slot holds dimension i in its low half, and dimension i + size/2 in its high half.
 * Bytes a slot and group: size·bits/8 + 4·scales.
 */
export class PlaneCodec implements SlotCodec {
  readonly size: number;
  readonly groups: number;
  readonly arrays: readonly CodecArray[];
  readonly #bits: SlotBits;
  readonly #shape: CodecShape;
  readonly #array: SlotArray<Uint8Array>;
  readonly #scales: SlotArray<Float32Array>;
  /** A vector's bytes before they are packed. */
  readonly #bytes: Uint8Array;

  constructor(shape: CodecShape, bits: SlotBits, scales: number) {
    const { batch, groups, size } = shape;
    this.#shape = shape;
    this.#bits = bits;
    this.size = size;
    this.groups = groups;
    this.#array = new SlotArray(Uint8Array, batch, groups, (size * bits) / 8);
    this.#scales = new SlotArray(Float32Array, batch, groups, scales);
    this.arrays = [
      { suffix: '', array: this.#array },
      { suffix: '.scale', array: this.#scales },
    ];
    this.#bytes = new Uint8Array(size);
  }

  create(): PlaneCodec {
    return new PlaneCodec({ ...this.#shape, batch: this.#array.batch }, this.#bits, this.#scales.width);
  }

  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void {
    const bytes = this.#bytes;
    const part = this.size / this.#scales.width;
    const half = this.#array.width;
    for (let t = 0; t < count; t++) {
      const scaleAt = this.#scales.at(row, group, slot + t);
      for (let s = 0; s < this.#scales.width; s++)
        this.#scales.data[scaleAt + s] = this.#quantize(source, from + t * this.size + s * part, s * part, part);
      const at = this.#array.at(row, group, slot + t);
      const { data } = this.#array;
      if (this.#bits === 8) for (let i = 0; i < half; i++) data[at + i] = bytes[i];
      else for (let i = 0; i < half; i++) data[at + i] = bytes[i] | (bytes[i + half] << 4);
    }
    this.#array.wrote(row, group, slot, count);
    this.#scales.wrote(row, group, slot, count);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    const { data, width: half } = this.#array;
    const at = this.#array.at(row, group, slot);
    const scaleAt = this.#scales.at(row, group, slot);
    const zero = ZERO_POINT[this.#bits];
    const part = this.size / this.#scales.width;
    for (let i = 0; i < this.size; i++) {
      const byte = this.#bits === 8 ? data[at + i] : i < half ? data[at + i] & 15 : data[at + i - half] >> 4;
      out[to + i] = (byte - zero) * this.#scales.data[scaleAt + Math.floor(i / part)];
    }
  }

  preview(source: Float32Array, from: number, out: Float32Array, to = 0): void {
    const part = this.size / this.#scales.width;
    for (let s = 0; s < this.#scales.width; s++) {
      const scale = this.#quantize(source, from + s * part, s * part, part);
      for (let i = s * part; i < (s + 1) * part; i++) out[to + i] = (this.#bytes[i] - ZERO_POINT[this.#bits]) * scale;
    }
  }

  /** Makes bytes of `count` numbers; returns their scale. */
  #quantize(source: Float32Array, from: number, to: number, count: number): number {
    const bytes = this.#bytes;
    const zero = ZERO_POINT[this.#bits];
    let largest = 0;
    for (let i = 0; i < count; i++) largest = Math.max(largest, Math.abs(source[from + i]));
    const exact = Math.fround(largest / (zero - 1));
    // Subnormal scales have few bits: such numbers become 0.
    const scale = exact < SMALLEST ? 0 : exact;
    const inverse = scale > 0 ? 1 / scale : 0;
    for (let i = 0; i < count; i++) bytes[to + i] = Math.round(source[from + i] * inverse) + zero;
    return scale;
  }
}
