import { describe, expect, it } from 'vitest';
import { range } from '../../util/numbers.ts';
import { createBuffer } from '../buffers.ts';
import { layerTransform, packTriangle } from './key-transforms.ts';

const SIZE = 64;
/** Upper triangular, with scales that differ by a factor of 20. */
const triangle = (seed: number): Float32Array =>
  Float32Array.from(range(SIZE * SIZE), (n) => {
    const [i, j] = [Math.floor(n / SIZE), n % SIZE];
    if (j < i) return 0;
    return i === j ? 0.2 + (4 * ((i * seed) % SIZE)) / SIZE : 0.3 * Math.sin(seed * n);
  });
const packed = [1, 3].map((seed) => packTriangle(triangle(seed), SIZE));
const vector = (seed: number): Float32Array => Float32Array.from(range(SIZE), (i) => Math.sin(seed * i + seed));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  range(SIZE).reduce((sum, i) => sum + a[i] * b[i], 0);
const times = (matrices: Float32Array, group: number, x: Float32Array): Float32Array =>
  Float32Array.from(range(SIZE), (i) => dot(matrices.subarray((group * SIZE + i) * SIZE), x));

describe('matrices of keys', () => {
  it('leave products of queries and keys as they are', () => {
    const transform = layerTransform(packed, SIZE)!;
    for (const group of [0, 1]) {
      const [q, k] = [vector(2 + group), vector(5)];
      const product = dot(times(transform.queries, group, q), times(transform.keys, group, k));
      expect(product).toBeCloseTo(dot(q, k), 4);
    }
    // A key's length is another one: the matrix is no rotation.
    expect(dot(times(transform.keys, 0, vector(5)), times(transform.keys, 0, vector(5)))).not.toBeCloseTo(
      dot(vector(5), vector(5)),
      1,
    );
  });

  it.each([{ blocks: false }, { blocks: true }])('are undone where a slot is read %s', (memory) => {
    const transform = layerTransform(packed, SIZE)!;
    const sizes = { groups: 2, keySize: SIZE, valueSize: SIZE };
    const buffer = createBuffer('int4', 1, sizes, memory, transform);
    const twin = createBuffer('int4', 1, sizes, memory);
    for (const one of [buffer, twin]) one.resize(1, 2);
    const [key, value] = [vector(3), vector(7)];
    const [out, previewed] = [new Float32Array(SIZE), new Float32Array(SIZE)];
    for (const group of [0, 1]) {
      for (const one of [buffer, twin]) one.write({ row: 0, group, slot: 1 }, 1, key, 0, value, 0);
      buffer.readKey({ row: 0, group, slot: 1 }, out);
      // What is lost is lost of M·k, in steps of an eighth of its largest number.
      const [lost, stored] = [out.map((x, i) => x - key[i]), times(transform.keys, group, key)];
      const most = Math.max(...stored.map(Math.abs)) / 8;
      for (const x of times(transform.keys, group, lost)) expect(Math.abs(x)).toBeLessThan(most);
      buffer.keys.preview(key, 0, previewed, 0, group);
      expect(previewed).toEqual(out);
      // Values are as they are without it.
      buffer.readValue({ row: 0, group, slot: 1 }, out);
      twin.readValue({ row: 0, group, slot: 1 }, previewed);
      expect(previewed).toEqual(out);
    }
    const fork = buffer.fork();
    fork.readKey({ row: 0, group: 1, slot: 1 }, out);
    buffer.readKey({ row: 0, group: 1, slot: 1 }, previewed);
    expect(previewed).toEqual(out);
  });

  it('are none where the text is of another size, or of a matrix without an inverse', () => {
    expect(layerTransform(packed, 32)).toBeNull();
    const singular = triangle(1);
    singular[5 * SIZE + 5] = 0;
    expect(layerTransform([packTriangle(singular, SIZE)], SIZE)).toBeNull();
    const endless = btoa(`\u0000\u007c${atob(packed[0]).slice(2)}`); // begins with an infinity
    expect(layerTransform([endless], SIZE)).toBeNull();
  });
});
