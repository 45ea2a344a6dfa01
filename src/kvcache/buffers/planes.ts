/**
 * @file Vectors in 8, 5 or 4 bits, numbers and scales in arrays of their own: what ONNX Runtime multiplies without a
 * copy.
 */
import { bestScale, roundNumbers } from './scale.ts';
import { SlotArray } from './slot-array.ts';
import type { CodecArray, CodecShape, SlotCodec } from './slot-codec.ts';

/** Dimensions of a key that share a scale, where the head can be divided so. */
const BLOCK = 32;

/** How many scales a key has: one for every 32 dimensions, or one for the whole head where 32 does not divide it. */
export function keyScales(size: number): number {
  return size % BLOCK === 0 && size > 0 ? size / BLOCK : 1;
}

/** Bytes with a bit of each number. */
export const eighthOf = (size: number): number => Math.ceil(size / 8);

export type SlotBits = 8 | 5 | 4;

/** The smallest number that float32 has in full precision. */
const SMALLEST = 2 ** -126;

/** The byte that stands for 0. */
export const ZERO_POINT: Readonly<Record<SlotBits, number>> = { 8: 128, 5: 16, 4: 8 };

/**
 * Symmetric quantization, x ≈ scale · (byte − zero point). Keys are the more sensitive half: they have a scale for
 * every 32 dimensions, along the head and not along the tokens, so that slots may change one by one. Values have one
 * scale a token, which the graph multiplies into the attention weights.
 *
 * Four bits: byte i of a slot holds dimension i in its low half, and dimension i + size/2 in its high half. Five bits:
 * the lower four as these, and n = ⌈size/8⌉ bytes behind them: bit b of byte j is the fifth one of dimension b·n + j.
 * Bytes a slot and group: size·bits/8, rounded up, + 4·scales.
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
  /** A vector, while what its numbers lose is made up for. */
  readonly #numbers: Float32Array;
  /** Its scales, for {@link preview}. */
  readonly #itsScales: Float32Array;

  constructor(shape: CodecShape, bits: SlotBits, scales: number) {
    const { batch, groups, size } = shape;
    this.#shape = shape;
    this.#bits = bits;
    this.size = size;
    this.groups = groups;
    this.#array = new SlotArray(Uint8Array, batch, groups, bits === 8 ? size : size / 2 + (bits - 4) * eighthOf(size));
    this.#scales = new SlotArray(Float32Array, batch, groups, scales);
    this.arrays = [
      { suffix: '', array: this.#array },
      { suffix: '.scale', array: this.#scales },
    ];
    this.#bytes = new Uint8Array(size);
    this.#numbers = new Float32Array(size);
    this.#itsScales = new Float32Array(scales);
  }

  create(): PlaneCodec {
    return new PlaneCodec({ ...this.#shape, batch: this.#array.batch }, this.#bits, this.#scales.width);
  }

  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void {
    for (let t = 0; t < count; t++) {
      this.#quantize(group, source, from + t * this.size, this.#scales.data, this.#scales.at(row, group, slot + t));
      this.#pack(this.#array.at(row, group, slot + t));
    }
    this.#array.wrote(row, group, slot, count);
    this.#scales.wrote(row, group, slot, count);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    this.#unpack(this.#array.at(row, group, slot));
    this.#dequantize(this.#scales.data, this.#scales.at(row, group, slot), out, to);
  }

  preview(group: number, source: Float32Array, from: number, out: Float32Array, to = 0): void {
    this.#quantize(group, source, from, this.#itsScales, 0);
    this.#dequantize(this.#itsScales, 0, out, to);
  }

  /** Writes the bytes of one vector to a slot. */
  #pack(at: number): void {
    const bytes = this.#bytes;
    const { data, width } = this.#array;
    if (this.#bits === 8) {
      for (let i = 0; i < width; i++) data[at + i] = bytes[i];
      return;
    }
    const half = this.size / 2;
    for (let i = 0; i < half; i++) data[at + i] = (bytes[i] & 15) | ((bytes[i + half] & 15) << 4);
    const eighth = width - half;
    for (let j = 0; j < eighth; j++) {
      let high = 0;
      for (let b = 0; b < 8 && b * eighth + j < this.size; b++) high |= (bytes[b * eighth + j] >> 4) << b;
      data[at + half + j] = high;
    }
  }

  /** The bytes of one vector, of a slot. */
  #unpack(at: number): void {
    const bytes = this.#bytes;
    const { data, width } = this.#array;
    if (this.#bits === 8) {
      for (let i = 0; i < width; i++) bytes[i] = data[at + i];
      return;
    }
    const half = this.size / 2;
    for (let i = 0; i < half; i++) {
      bytes[i] = data[at + i] & 15;
      bytes[i + half] = data[at + i] >> 4;
    }
    const eighth = width - half;
    for (let j = 0; j < eighth; j++)
      for (let b = 0; b < 8 && b * eighth + j < this.size; b++)
        bytes[b * eighth + j] |= ((data[at + half + j] >> b) & 1) << 4;
  }

  /** The bytes as numbers. @param at index of the first scale. */
  #dequantize(scales: Float32Array, at: number, out: Float32Array, to: number): void {
    const zero = ZERO_POINT[this.#bits];
    const part = this.size / this.#scales.width;
    for (let i = 0; i < this.size; i++) out[to + i] = (this.#bytes[i] - zero) * scales[at + Math.floor(i / part)];
  }

  /** Makes the bytes of one vector, and its scales from index `at` on. */
  #quantize(group: number, source: Float32Array, from: number, scales: Float32Array, at: number): void {
    const feedback = this.#shape.feedbackOf?.(group);
    if (feedback) {
      for (let i = 0; i < this.size; i++) this.#numbers[i] = source[from + i];
      source = this.#numbers;
      from = 0;
    }
    const zero = ZERO_POINT[this.#bits];
    const part = this.size / this.#scales.width;
    for (let first = 0; first < this.size; first += part) {
      const exact = Math.fround(
        this.#bits === 8
          ? largestOf(source, from + first, part) / 127
          : bestScale(source, from + first, part, zero, true),
      );
      // Subnormal scales have few bits: such numbers become 0.
      const scale = exact < SMALLEST ? 0 : exact;
      scales[at++] = scale;
      roundNumbers(source, from + first, part, scale, zero, this.#bytes, first, feedback);
    }
  }
}

function largestOf(source: Float32Array, from: number, count: number): number {
  let largest = 0;
  for (let i = from; i < from + count; i++) largest = Math.max(largest, Math.abs(source[i]));
  return largest;
}
