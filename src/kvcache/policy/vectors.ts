/**
 * @file Arithmetic on single keys and values, in float64.
 */
import type { KeyForms, KeyProducts } from '../shape.ts';

/** ‖x‖₂, or that of a part of it. */
export function lengthOf(x: Float32Array | Float64Array, from = 0, count = x.length): number {
  const end = from + count;
  let [a, b, c, d] = [0, 0, 0, 0];
  let i = from;
  // Four sums, as each has to wait for itself.
  for (; i + 4 <= end; i += 4) {
    a += x[i] * x[i];
    b += x[i + 1] * x[i + 1];
    c += x[i + 2] * x[i + 2];
    d += x[i + 3] * x[i + 3];
  }
  for (; i < end; i++) a += x[i] * x[i];
  return Math.sqrt(a + b + (c + d));
}

/** ‖a − b‖₂ */
export function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum);
}

/** sum += sign · k / ‖k‖, from index `from` on. A key of zeros has no direction. */
export function addDirection(sum: Float64Array, from: number, key: Float32Array, sign: 1 | -1): void {
  const scale = sign / (lengthOf(key) || 1);
  for (let i = 0; i < key.length; i++) sum[from + i] += key[i] * scale;
}

/** sums += x */
export function addTo(sums: Float64Array, x: Float32Array, count: number): void {
  let i = 0;
  // Four at a time: a loop over each took 1.6 times as long.
  for (; i + 4 <= count; i += 4) {
    sums[i] += x[i];
    sums[i + 1] += x[i + 1];
    sums[i + 2] += x[i + 2];
    sums[i + 3] += x[i + 3];
  }
  for (; i < count; i++) sums[i] += x[i];
}

/** x_j · y. */
export function dotAt(x: Float32Array, at: number, y: Float64Array): number {
  const D = y.length;
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let i = 0;
  // Four sums, as each has to wait for itself.
  for (; i + 4 <= D; i += 4) {
    a += x[at + i] * y[i];
    b += x[at + i + 1] * y[i + 1];
    c += x[at + i + 2] * y[i + 2];
    d += x[at + i + 3] * y[i + 3];
  }
  for (; i < D; i++) a += x[at + i] * y[i];
  return a + b + (c + d);
}

/** yᵀ A y of a symmetric matrix A [D, D] that begins at `from`, by its upper half. */
function quadratic(matrix: Float64Array, from: number, y: Float64Array): number {
  const D = y.length;
  let sum = 0;
  for (let i = 0; i < D; i++) {
    const row = from + i * D;
    let a = (matrix[row + i] * y[i]) / 2;
    let b = 0;
    let c = 0;
    let d = 0;
    let n = i + 1;
    // Four sums, as each has to wait for itself.
    for (; n + 4 <= D; n += 4) {
      a += matrix[row + n] * y[n];
      b += matrix[row + n + 1] * y[n + 1];
      c += matrix[row + n + 2] * y[n + 2];
      d += matrix[row + n + 3] * y[n + 3];
    }
    for (; n < D; n++) a += matrix[row + n] * y[n];
    sum += y[i] * (a + b + (c + d));
  }
  return 2 * sum;
}

/** Forms of keys, in float64. */
export const hostForms: KeyForms = (keys, count, size, matrices, vectors) => {
  const M = vectors.length / size;
  const parts = Array.from({ length: M }, (_, m) => vectors.subarray(m * size, (m + 1) * size));
  const forms = new Float64Array(count * M);
  const y = new Float64Array(size);
  for (let j = 0; j < count; j++) {
    for (let i = 0; i < size; i++) y[i] = keys[j * size + i];
    for (let m = 0; m < M; m++)
      forms[j * M + m] = Math.max(0, quadratic(matrices, m * size * size, y)) + dotAt(keys, j * size, parts[m]);
  }
  return forms;
};

/** Products of keys, in float64. */
export const hostProducts: KeyProducts = (x, n, size) => {
  const products = new Float64Array(n * n);
  for (let a = 0; a < n; a++) {
    const own = a * size;
    let b = 0;
    // Four at once: the numbers of a are read once for them, and no sum waits for itself.
    for (; b + 4 <= a + 1; b += 4) {
      let at = b * size;
      let [p, q, r, s] = [0, 0, 0, 0];
      for (let i = own; i < own + size; i++, at++) {
        const y = x[i];
        p += y * x[at];
        q += y * x[at + size];
        r += y * x[at + 2 * size];
        s += y * x[at + 3 * size];
      }
      products[a * n + b] = p;
      products[a * n + b + 1] = q;
      products[a * n + b + 2] = r;
      products[a * n + b + 3] = s;
    }
    for (; b <= a; b++) {
      let sum = 0;
      for (let i = 0; i < size; i++) sum += x[own + i] * x[b * size + i];
      products[a * n + b] = sum;
    }
    for (b = 0; b < a; b++) products[b * n + a] = products[a * n + b];
  }
  return { products, stride: n };
};

/** Adds Σ x xᵀ over `count` vectors x [count, D] to the upper half of a matrix [D, D] that begins at `from`. */
export function addOuter(x: Float64Array, count: number, D: number, matrix: Float64Array, from: number): void {
  let n = 0;
  // Four at once: reading and writing the matrix is most of the work.
  for (; n + 4 <= count; n += 4) {
    const at = n * D;
    for (let i = 0; i < D; i++) {
      const a = x[at + i];
      const b = x[at + D + i];
      const c = x[at + 2 * D + i];
      const d = x[at + 3 * D + i];
      const row = from + i * D;
      for (let j = i; j < D; j++)
        matrix[row + j] += a * x[at + j] + b * x[at + D + j] + (c * x[at + 2 * D + j] + d * x[at + 3 * D + j]);
    }
  }
  for (; n < count; n++)
    for (let i = 0; i < D; i++) for (let j = i; j < D; j++) matrix[from + i * D + j] += x[n * D + i] * x[n * D + j];
}

/** Makes of a symmetric, positive matrix A [D, D] its Cholesky factor L in the lower half, in place: A = L Lᵀ. */
export function decompose(matrix: Float64Array, D: number): void {
  for (let i = 0; i < D; i++)
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * D + j];
      for (let k = 0; k < j; k++) sum -= matrix[i * D + k] * matrix[j * D + k];
      matrix[i * D + j] = i === j ? Math.sqrt(Math.max(sum, Number.MIN_VALUE)) : sum / matrix[j * D + j];
    }
}

/** xᵀ A⁻¹ x = ‖L⁻¹x‖², where `factor` is L as {@link decompose} makes it; x is overwritten. */
export function solvedLength(factor: Float64Array, x: Float64Array): number {
  const D = x.length;
  let length = 0;
  for (let i = 0; i < D; i++) {
    let sum = x[i];
    const row = i * D;
    for (let k = 0; k < i; k++) sum -= factor[row + k] * x[k];
    x[i] = sum / factor[row + i];
    length += x[i] * x[i];
  }
  return length;
}

/** Memory that a policy works with, made once and used for every layer. */
export class Scratch {
  readonly #vectors = new Map<string, Float32Array>();
  readonly #sums = new Map<string, Float64Array>();
  #growing = new Float32Array(0);
  #numbers = new Float64Array(0);

  /** A vector of so many numbers; another one for each `nth`. */
  vector(size: number, nth = 0): Float32Array {
    const name = `${nth}/${size}`;
    let vector = this.#vectors.get(name);
    if (!vector) {
      vector = new Float32Array(size);
      this.#vectors.set(name, vector);
    }
    return vector;
  }

  /** A vector in float64, to add up in; another one for each `nth`. */
  sums(size: number, nth = 0): Float64Array {
    const name = `${nth}/${size}`;
    let sums = this.#sums.get(name);
    if (!sums) {
      sums = new Float64Array(size);
      this.#sums.set(name, sums);
    }
    return sums;
  }

  /** At least so many numbers. */
  growing(size: number): Float32Array {
    if (this.#growing.length < size) this.#growing = new Float32Array(Math.ceil(size * 1.25));
    return this.#growing;
  }

  /** At least so many numbers in float64. */
  numbers(size: number): Float64Array {
    if (this.#numbers.length < size) this.#numbers = new Float64Array(Math.ceil(size * 1.25));
    return this.#numbers;
  }
}
