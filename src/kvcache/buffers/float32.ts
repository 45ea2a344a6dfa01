/**
 * @file Keys and values in float32, as the graph makes them: nothing is lost.
 */
import { Plane } from './plane.ts';
import { SlotBuffer, type SlotPlace } from './slot-buffer.ts';

/** 8·D bytes a slot and group. */
export class Float32Buffer extends SlotBuffer {
  readonly #keys: Plane<Float32Array>;
  readonly #values: Plane<Float32Array>;

  constructor(batch: number, groups: number, headSize: number) {
    const k = new Plane(Float32Array, batch, groups, headSize);
    const v = new Plane(Float32Array, batch, groups, headSize);
    super(headSize, { k, v });
    this.#keys = k;
    this.#values = v;
  }

  override create(): Float32Buffer {
    return new Float32Buffer(this.#keys.batch, this.#keys.groups, this.headSize);
  }

  override write(place: SlotPlace, count: number, source: Float32Array, keyAt: number, valueAt: number): void {
    const k = this.#keys;
    const v = this.#values;
    const at = k.at(place.row, place.group, place.slot);
    const n = count * this.headSize;
    if (count > 1) {
      k.data.set(source.subarray(keyAt, keyAt + n), at);
      v.data.set(source.subarray(valueAt, valueAt + n), at);
      return;
    }
    // One token a step: views would be garbage.
    for (let i = 0; i < n; i++) k.data[at + i] = source[keyAt + i];
    for (let i = 0; i < n; i++) v.data[at + i] = source[valueAt + i];
  }

  override readKey(place: SlotPlace, out: Float32Array): void {
    this.#read(this.#keys, place, out);
  }

  override readKeys(row: number, group: number, count: number, out: Float32Array): void {
    const at = this.#keys.at(row, group, 0);
    out.set(this.#keys.data.subarray(at, at + count * this.headSize));
  }

  override readValue(place: SlotPlace, out: Float32Array): void {
    this.#read(this.#values, place, out);
  }

  override preview(source: Float32Array, from: number, _which: 'key' | 'value', out: Float32Array): void {
    for (let i = 0; i < this.headSize; i++) out[i] = source[from + i];
  }

  override writeKey({ row, group, slot }: SlotPlace, key: Float32Array): void {
    this.#keys.data.set(key, this.#keys.at(row, group, slot));
  }

  #read(plane: Plane<Float32Array>, { row, group, slot }: SlotPlace, out: Float32Array): void {
    const at = plane.at(row, group, slot);
    for (let i = 0; i < this.headSize; i++) out[i] = plane.data[at + i];
  }
}
