/**
 * @file Vectors that are multiplied by a matrix before they are stored. What is read is multiplied by the inverse, so
 * only an engine sees the products.
 */
import { hadamard } from './hadamard.ts';
import type { LayerTransform } from './key-transforms.ts';
import type { CodecArray, SlotCodec } from './slot-codec.ts';

/** Stores vectors in another format, multiplied by the Hadamard matrix, or by the matrix of their group. */
export class RotatedCodec implements SlotCodec {
  readonly size: number;
  readonly groups: number;
  readonly arrays: readonly CodecArray[];
  readonly #inner: SlotCodec;
  readonly #transform: LayerTransform | null;
  #rotated: Float32Array;

  /** @param transform null: the Hadamard matrix, which is its own inverse. */
  constructor(inner: SlotCodec, transform: LayerTransform | null) {
    this.#inner = inner;
    this.size = inner.size;
    this.groups = inner.groups;
    this.arrays = inner.arrays;
    this.#transform = transform;
    this.#rotated = new Float32Array(inner.size);
  }

  create(): RotatedCodec {
    return new RotatedCodec(this.#inner.create(), this.#transform);
  }

  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void {
    this.#inner.write(row, group, slot, count, this.#rotate(source, from, count, group), 0);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    this.#inner.read(row, group, slot, out, to);
    this.#restore(out, to, group);
  }

  preview(source: Float32Array, from: number, out: Float32Array, to = 0, group = 0): void {
    this.#inner.preview(this.#rotate(source, from, 1, group), 0, out, to);
    this.#restore(out, to, group);
  }

  #restore(out: Float32Array, to: number, group: number): void {
    if (this.#transform) this.#transform.restore(out, to, group);
    else hadamard(out, to, this.size);
  }

  #rotate(source: Float32Array, from: number, count: number, group: number): Float32Array {
    const length = count * this.size;
    if (this.#rotated.length < length) this.#rotated = new Float32Array(length);
    const rotated = this.#rotated;
    for (let i = 0; i < length; i++) rotated[i] = source[from + i];
    for (let at = 0; at < length; at += this.size)
      if (this.#transform) this.#transform.multiply(rotated, at, group);
      else hadamard(rotated, at, this.size);
    return rotated;
  }
}
