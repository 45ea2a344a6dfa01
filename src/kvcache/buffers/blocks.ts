/**
 * @file Vectors in ggml's own blocks of 32 numbers, q8_0, q5_0 and q4_0, which ggml multiplies in place.
 *
 * A block is a float16 scale d and 32 numbers x ≈ d · q:
 * - q8_0 (34 bytes): 32 signed bytes q, d = max|x| / 127;
 * - q4_0 (18 bytes): byte i holds q + 8 of number i in its low half and of number i + 16 in its high half;
 * - q5_0 (22 bytes): bit i of the first four bytes is the fifth bit of q + 16 of number i; the others are as in q4_0.
 *
 * In 4 and 5 bits d is {@link bestScale}.
 *
 * A vector whose size 32 does not divide is filled up with zeros: its last block is as long as the others.
 */
import { floatToHalf, halfToFloat } from './float16.ts';
import { bestScale, roundNumbers } from './scale.ts';
import { SlotArray } from './slot-array.ts';
import type { BlockCodecs, BlockFormat, CodecArray, CodecShape, SlotCodec } from './slot-codec.ts';

/** Numbers of a block. */
const BLOCK_SIZE = 32;

/** Bytes of a block. */
const BLOCK_BYTES: Readonly<Record<BlockFormat, number>> = { q8_0: 34, q5_0: 22, q4_0: 18 };

export const blockCodec: BlockCodecs = (shape, format) => new BlockCodec(shape, format);

export class BlockCodec implements SlotCodec {
  readonly size: number;
  readonly groups: number;
  readonly arrays: readonly CodecArray[];
  readonly #format: BlockFormat;
  readonly #shape: CodecShape;
  readonly #array: SlotArray<Uint8Array>;
  readonly #blocks: number;
  /** One vector, for {@link preview}. */
  readonly #bytes: Uint8Array;
  /** One vector, while what its numbers lose is made up for. */
  readonly #numbers: Float32Array;

  constructor(shape: CodecShape, format: BlockFormat) {
    this.#shape = shape;
    this.#format = format;
    this.size = shape.size;
    this.groups = shape.groups;
    this.#blocks = Math.ceil(shape.size / BLOCK_SIZE);
    const width = this.#blocks * BLOCK_BYTES[format];
    this.#array = new SlotArray(Uint8Array, shape.batch, shape.groups, width);
    this.arrays = [{ suffix: '', array: this.#array }];
    this.#bytes = new Uint8Array(width);
    this.#numbers = new Float32Array(shape.size);
  }

  create(): BlockCodec {
    return new BlockCodec({ ...this.#shape, batch: this.#array.batch }, this.#format);
  }

  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void {
    for (let t = 0; t < count; t++)
      this.#store(group, source, from + t * this.size, this.#array.data, this.#array.at(row, group, slot + t));
    this.#array.wrote(row, group, slot, count);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    this.#load(this.#array.data, this.#array.at(row, group, slot), out, to);
  }

  preview(group: number, source: Float32Array, from: number, out: Float32Array, to = 0): void {
    this.#store(group, source, from, this.#bytes, 0);
    this.#load(this.#bytes, 0, out, to);
  }

  #store(group: number, source: Float32Array, from: number, bytes: Uint8Array, to: number): void {
    const feedback = this.#shape.feedbackOf?.(group);
    const size = BLOCK_BYTES[this.#format];
    const { store } = LAYOUTS[this.#format];
    if (feedback) {
      for (let i = 0; i < this.size; i++) this.#numbers[i] = source[from + i];
      source = this.#numbers;
      from = 0;
    }
    for (let b = 0; b < this.#blocks; b++) {
      const first = b * BLOCK_SIZE;
      store(source, from + first, Math.min(BLOCK_SIZE, this.size - first), bytes, to + b * size, feedback);
    }
  }

  #load(bytes: Uint8Array, from: number, out: Float32Array, to: number): void {
    const size = BLOCK_BYTES[this.#format];
    const { load } = LAYOUTS[this.#format];
    for (let b = 0; b < this.#blocks; b++) {
      const at = from + b * size;
      const first = b * BLOCK_SIZE;
      const count = Math.min(BLOCK_SIZE, this.size - first);
      load(bytes, at + 2, count, halfToFloat(bytes[at] | (bytes[at + 1] << 8)), out, to + first);
    }
  }
}

/** How one block is written and read. */
interface BlockLayout {
  /**
   * Writes `count` numbers from index `from` on as the block at `at`; those behind them are 0.
   * @param feedback of the vector that `source` is, whose later numbers are changed; absent: there is none.
   */
  store(
    source: Float32Array,
    from: number,
    count: number,
    bytes: Uint8Array,
    at: number,
    feedback: Float32Array | null | undefined,
  ): void;
  /** Writes the first `count` numbers of a block. @param at index behind its scale. */
  load(bytes: Uint8Array, at: number, count: number, scale: number, out: Float32Array, to: number): void;
}

const LAYOUTS: Readonly<Record<BlockFormat, BlockLayout>> = {
  q8_0: { store: storeQ8, load: loadQ8 },
  q5_0: { store: inCodes(16, packQ5), load: loadQ5 },
  q4_0: { store: inCodes(8, packNibbles), load: loadQ4 },
};

function loadQ8(bytes: Uint8Array, at: number, count: number, scale: number, out: Float32Array, to: number): void {
  for (let n = 0; n < count; n++) out[to + n] = scale * ((bytes[at + n] << 24) >> 24);
}

function loadQ5(bytes: Uint8Array, at: number, count: number, scale: number, out: Float32Array, to: number): void {
  for (let n = 0; n < count; n++) {
    const high = (bytes[at + (n >> 3)] >> (n & 7)) & 1;
    out[to + n] = scale * ((nibble(bytes, at + 4, n) | (high << 4)) - 16);
  }
}

function loadQ4(bytes: Uint8Array, at: number, count: number, scale: number, out: Float32Array, to: number): void {
  for (let n = 0; n < count && n < 16; n++) out[to + n] = scale * ((bytes[at + n] & 15) - 8);
  for (let n = 16; n < count; n++) out[to + n] = scale * ((bytes[at + n - 16] >> 4) - 8);
}

const nibble = (bytes: Uint8Array, at: number, n: number): number =>
  n < 16 ? bytes[at + n] & 15 : bytes[at + n - 16] >> 4;

function storeScale(d: number, bytes: Uint8Array, at: number): void {
  const half = floatToHalf(d);
  bytes[at] = half & 255;
  bytes[at + 1] = half >> 8;
}

/** As ggml's quantize_row_q8_0_ref: numbers are divided by the scale before it is rounded to float16. */
function storeQ8(source: Float32Array, from: number, count: number, bytes: Uint8Array, at: number): void {
  let largest = 0;
  for (let i = 0; i < count; i++) largest = Math.max(largest, Math.abs(source[from + i]));
  const d = Math.fround(largest / 127);
  const inverse = inverseOf(d);
  storeScale(d, bytes, at);
  for (let i = 0; i < count; i++) bytes[at + 2 + i] = roundAway(Math.fround(source[from + i] * inverse));
  if (count < BLOCK_SIZE) bytes.fill(0, at + 2 + count, at + 2 + BLOCK_SIZE);
}

/** The codes q + zero of one block. */
const codes = new Uint8Array(BLOCK_SIZE);

/** Stores a block's scale, makes its codes, and packs these behind the scale. */
function inCodes(zero: number, pack: (bytes: Uint8Array, at: number) => void): BlockLayout['store'] {
  return (source, from, count, bytes, at, feedback) => {
    storeScale(bestScale(source, from, count, zero, false), bytes, at);
    const stored = halfToFloat(bytes[at] | (bytes[at + 1] << 8));
    if (count < BLOCK_SIZE) codes.fill(zero, count);
    roundNumbers(source, from, count, stored, zero, codes, 0, feedback);
    pack(bytes, at + 2);
  };
}

function packQ5(bytes: Uint8Array, at: number): void {
  for (let b = 0; b < 4; b++) {
    let high = 0;
    for (let i = 0; i < 8; i++) high |= (codes[8 * b + i] >> 4) << i;
    bytes[at + b] = high;
  }
  packNibbles(bytes, at + 4);
}

function packNibbles(bytes: Uint8Array, at: number): void {
  for (let i = 0; i < 16; i++) bytes[at + i] = (codes[i] & 15) | ((codes[i + 16] & 15) << 4);
}

/** 1 / d; 0 for a scale so small that it is 0 in float16. */
const inverseOf = (d: number): number => (floatToHalf(Math.abs(d)) === 0 ? 0 : Math.fround(1 / d));

/** To the nearest whole number, halves away from zero (C's roundf); of numbers of some thousands at most. */
function roundAway(x: number): number {
  const whole = x | 0;
  // By the sign, half of the branches would be guessed wrongly.
  return whole + ((2 * (x - whole)) | 0);
}
