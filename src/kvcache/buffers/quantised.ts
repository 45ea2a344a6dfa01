/**
 * @file Keys and values in 8 or 4 bits: whole numbers with a scale, made the moment a token is stored.
 */
import { Plane } from './plane.ts';
import { SlotBuffer, type SlotPlace } from './slot-buffer.ts';

/** Dimensions of a key that share a scale, where the head can be divided so. */
const GROUP = 32;

/** How many scales a key has: one for every 32 dimensions, or one for the whole head where that does not go up. */
export function keyScales(headSize: number): number {
  return headSize % GROUP === 0 ? headSize / GROUP : 1;
}

export type SlotBits = 8 | 4;

/** The smallest number that float32 has in full precision. */
const SMALLEST = 2 ** -126;

/** The byte that stands for 0. */
export const ZERO_POINT: Readonly<Record<SlotBits, number>> = { 8: 128, 4: 8 };

/**
 * Symmetric quantisation, x ≈ scale · (byte − zero point), a scale for every token and group. Keys are the more sensitive half:
 * they have a scale for every 32 dimensions, along the head and not along the tokens, so that slots may change one by one.
 * Values have one scale a token, which the graph multiplies into the attention weights.
 *
 * Four bits: byte i of a slot holds dimension i in its low half, and dimension i + D/2 in its high half.
 * Bytes a slot and group: 2·D·bits/8 + 4·(keyScales + 1).
 */
export class QuantisedBuffer extends SlotBuffer {
  readonly bits: SlotBits;
  readonly #keys: Plane<Uint8Array>;
  readonly #values: Plane<Uint8Array>;
  readonly #keyScales: Plane<Float32Array>;
  readonly #valueScales: Plane<Float32Array>;
  /** A token's bytes before they are packed. */
  readonly #bytes: Uint8Array;

  constructor(batch: number, groups: number, headSize: number, bits: SlotBits) {
    const width = (headSize * bits) / 8;
    const k = new Plane(Uint8Array, batch, groups, width);
    const v = new Plane(Uint8Array, batch, groups, width);
    const kScale = new Plane(Float32Array, batch, groups, keyScales(headSize));
    const vScale = new Plane(Float32Array, batch, groups, 1);
    super(headSize, { k, v, 'k.scale': kScale, 'v.scale': vScale });
    this.bits = bits;
    this.#keys = k;
    this.#values = v;
    this.#keyScales = kScale;
    this.#valueScales = vScale;
    this.#bytes = new Uint8Array(headSize);
  }

  override create(): QuantisedBuffer {
    return new QuantisedBuffer(this.#keys.batch, this.#keys.groups, this.headSize, this.bits);
  }

  override write(place: SlotPlace, count: number, source: Float32Array, keyAt: number, valueAt: number): void {
    const D = this.headSize;
    for (let t = 0; t < count; t++) {
      this.#store(this.#keys, this.#keyScales, place, place.slot + t, source, keyAt + t * D);
      this.#store(this.#values, this.#valueScales, place, place.slot + t, source, valueAt + t * D);
    }
  }

  override readKey(place: SlotPlace, out: Float32Array): void {
    this.#read(this.#keys, this.#keyScales, place, out);
  }

  override readValue(place: SlotPlace, out: Float32Array): void {
    this.#read(this.#values, this.#valueScales, place, out);
  }

  override writeKey(place: SlotPlace, key: Float32Array): void {
    this.#store(this.#keys, this.#keyScales, place, place.slot, key, 0);
  }

  override preview(source: Float32Array, from: number, which: 'key' | 'value', out: Float32Array): void {
    const scales = which === 'key' ? this.#keyScales.width : 1;
    const part = this.headSize / scales;
    for (let s = 0; s < scales; s++) {
      const scale = this.#quantise(source, from + s * part, s * part, part);
      for (let i = s * part; i < (s + 1) * part; i++) out[i] = (this.#bytes[i] - ZERO_POINT[this.bits]) * scale;
    }
  }

  /** Makes bytes of `count` numbers; returns their scale. */
  #quantise(source: Float32Array, from: number, to: number, count: number): number {
    const bytes = this.#bytes;
    const zero = ZERO_POINT[this.bits];
    let largest = 0;
    for (let i = 0; i < count; i++) largest = Math.max(largest, Math.abs(source[from + i]));
    const exact = Math.fround(largest / (zero - 1));
    // Numbers so small that float32 has but a few bits for them are as good as 0.
    const scale = exact < SMALLEST ? 0 : exact;
    const inverse = scale > 0 ? 1 / scale : 0;
    for (let i = 0; i < count; i++) bytes[to + i] = Math.round(source[from + i] * inverse) + zero;
    return scale;
  }

  #store(
    plane: Plane<Uint8Array>,
    scales: Plane<Float32Array>,
    { row, group }: SlotPlace,
    slot: number,
    source: Float32Array,
    from: number,
  ): void {
    const bytes = this.#bytes;
    const part = this.headSize / scales.width;
    const scaleAt = scales.at(row, group, slot);
    for (let s = 0; s < scales.width; s++)
      scales.data[scaleAt + s] = this.#quantise(source, from + s * part, s * part, part);
    const at = plane.at(row, group, slot);
    const half = plane.width;
    if (this.bits === 8) for (let i = 0; i < half; i++) plane.data[at + i] = bytes[i];
    else for (let i = 0; i < half; i++) plane.data[at + i] = bytes[i] | (bytes[i + half] << 4);
  }

  #read(
    plane: Plane<Uint8Array>,
    scales: Plane<Float32Array>,
    { row, group, slot }: SlotPlace,
    out: Float32Array,
  ): void {
    const at = plane.at(row, group, slot);
    const scaleAt = scales.at(row, group, slot);
    const zero = ZERO_POINT[this.bits];
    const part = this.headSize / scales.width;
    const half = plane.width;
    for (let i = 0; i < this.headSize; i++) {
      const byte =
        this.bits === 8 ? plane.data[at + i] : i < half ? plane.data[at + i] & 15 : plane.data[at + i - half] >> 4;
      out[i] = (byte - zero) * scales.data[scaleAt + Math.floor(i / part)];
    }
  }
}
