/**
 * @file Vectors in float32, as the model makes them: nothing is lost.
 */
import { SlotArray } from './slot-array.ts';
import type { CodecArray, CodecShape, SlotCodec } from './slot-codec.ts';

/** 4 bytes a number. */
export class Float32Codec implements SlotCodec {
  readonly size: number;
  readonly groups: number;
  readonly arrays: readonly CodecArray[];
  readonly #array: SlotArray<Float32Array>;
  readonly #shape: CodecShape;

  constructor(shape: CodecShape) {
    this.#shape = shape;
    this.size = shape.size;
    this.groups = shape.groups;
    this.#array = new SlotArray(Float32Array, shape.batch, shape.groups, shape.size);
    this.arrays = [{ suffix: '', array: this.#array }];
  }

  create(): Float32Codec {
    return new Float32Codec({ ...this.#shape, batch: this.#array.batch });
  }

  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void {
    const { data } = this.#array;
    const at = this.#array.at(row, group, slot);
    const n = count * this.size;
    // One token a step: a view would be garbage.
    if (count > 1) data.set(source.subarray(from, from + n), at);
    else for (let i = 0; i < n; i++) data[at + i] = source[from + i];
    this.#array.wrote(row, group, slot, count);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    const { data } = this.#array;
    const at = this.#array.at(row, group, slot);
    for (let i = 0; i < this.size; i++) out[to + i] = data[at + i];
  }

  preview(_group: number, source: Float32Array, from: number, out: Float32Array, to = 0): void {
    for (let i = 0; i < this.size; i++) out[to + i] = source[from + i];
  }
}
