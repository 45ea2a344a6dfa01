/**
 * @file The Hadamard rotation: it spreads the outliers of a vector over all of its numbers, so that few bits lose less
 * of it.
 *
 * H is orthonormal and symmetric: H·H = 1 and (H·a)·(H·b) = a·b. So an engine multiplies queries by H and reads keys as
 * they are stored, and multiplies by H once more what it has made of stored values. A size that is no power of two
 * takes blocks, the largest first (80 = 64 + 16).
 */
import type { CodecArray, SlotCodec } from './slot-codec.ts';

/** Powers of two that add up to a size, descending. */
export function hadamardBlocks(size: number): number[] {
  const blocks: number[] = [];
  for (let rest = size; rest > 0; rest -= blocks.at(-1)!) blocks.push(2 ** Math.floor(Math.log2(rest)));
  return blocks;
}

/** x ← H·x of one vector of `size` numbers from index `at` on. */
export function hadamard(x: Float32Array, at: number, size: number): void {
  for (let rest = size; rest > 0; ) {
    const n = 2 ** (31 - Math.clz32(rest));
    transform(x, at, n);
    at += n;
    rest -= n;
  }
}

/**
 * The fast transform of `n` numbers, a power of two: two of its steps at once, which reads half as often. Names are given
 * one by one, as those of an array took half as long again.
 */
function transform(x: Float32Array, at: number, n: number): void {
  const end = at + n;
  let step = 1;
  for (; 4 * step <= n; step *= 4)
    for (let start = at; start < end; start += 4 * step)
      for (let i = start; i < start + step; i++) {
        const j = i + step;
        const k = j + step;
        const l = k + step;
        const p = x[i];
        const q = x[j];
        const r = x[k];
        const s = x[l];
        const a = p + q;
        const b = p - q;
        const c = r + s;
        const d = r - s;
        x[i] = a + c;
        x[j] = b + d;
        x[k] = a - c;
        x[l] = b - d;
      }
  if (step < n)
    for (let i = at; i < at + step; i++) {
      const a = x[i];
      const b = x[i + step];
      x[i] = a + b;
      x[i + step] = a - b;
    }
  const factor = 1 / Math.sqrt(n);
  for (let i = at; i < end; i++) x[i] *= factor;
}

/** H as a matrix [size, size]. */
export function hadamardMatrix(size: number): Float32Array {
  const matrix = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    matrix[i * size + i] = 1;
    hadamard(matrix, i * size, size);
  }
  return matrix;
}

/** Stores vectors rotated by H in another format. What is read is rotated back, so only an engine sees rotated vectors. */
export class RotatedCodec implements SlotCodec {
  readonly size: number;
  readonly groups: number;
  readonly arrays: readonly CodecArray[];
  readonly rotated: SlotCodec;
  #rotated: Float32Array;

  constructor(inner: SlotCodec) {
    this.rotated = inner;
    this.size = inner.size;
    this.groups = inner.groups;
    this.arrays = inner.arrays;
    this.#rotated = new Float32Array(inner.size);
  }

  create(): RotatedCodec {
    return new RotatedCodec(this.rotated.create());
  }

  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void {
    this.rotated.write(row, group, slot, count, this.#rotate(source, from, count), 0);
  }

  read(row: number, group: number, slot: number, out: Float32Array, to = 0): void {
    this.rotated.read(row, group, slot, out, to);
    hadamard(out, to, this.size);
  }

  preview(group: number, source: Float32Array, from: number, out: Float32Array, to = 0): void {
    this.rotated.preview(group, this.#rotate(source, from, 1), 0, out, to);
    hadamard(out, to, this.size);
  }

  #rotate(source: Float32Array, from: number, count: number): Float32Array {
    const length = count * this.size;
    if (this.#rotated.length < length) this.#rotated = new Float32Array(length);
    const rotated = this.#rotated;
    for (let i = 0; i < length; i++) rotated[i] = source[from + i];
    for (let t = 0; t < count; t++) hadamard(rotated, t * this.size, this.size);
    return rotated;
  }
}
