/**
 * @file The matrices that keys of a calibrated model are multiplied by before they are stored in few bits.
 *
 * They are H·R: R is upper triangular and measured, H the Hadamard matrix, which spreads outliers. A triangle is half as
 * many numbers as a matrix, and its inverse is cheap.
 */
import { floatToHalf, halfToFloat } from './float16.ts';
import { hadamard } from './hadamard.ts';

/** The matrices of one layer, [groups, size, size], row-major. */
export class LayerTransform {
  /** M: M·k is stored. */
  readonly keys: Float32Array;
  /** M⁻ᵀ: (M⁻ᵀ·q)·(M·k) = q·k. */
  readonly queries: Float32Array;
  readonly #product: Float32Array;

  constructor(keys: Float32Array, queries: Float32Array, size: number) {
    this.keys = keys;
    this.queries = queries;
    this.#product = new Float32Array(size);
  }

  /** k ← M·k, in place. @param at index of the key's first number. */
  multiply(key: Float32Array, at: number, group: number): void {
    const product = this.#product;
    const size = product.length;
    let m = group * size * size;
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let j = 0; j < size; j++) sum += this.keys[m++] * key[at + j];
      product[i] = sum;
    }
    key.set(product, at);
  }

  /** k ← M⁻¹·k, the transpose of the queries' matrix. */
  restore(key: Float32Array, at: number, group: number): void {
    const product = this.#product.fill(0);
    const size = product.length;
    let m = group * size * size;
    for (let i = 0; i < size; i++) {
      const x = key[at + i];
      for (let j = 0; j < size; j++) product[j] += this.queries[m++] * x;
    }
    key.set(product, at);
  }
}

/** Which calibration matrices are of. */
export interface TransformSource {
  /** Of the matrices themselves. */
  readonly digest: string;
  /** SHA-256 of the texts, and tokens of each of their windows. */
  readonly texts: string;
  readonly length: number;
}

/** The matrices of a model. */
export class KeyTransforms {
  readonly source: TransformSource;
  /** By layer; null: keys of the layer are multiplied by the Hadamard matrix. */
  readonly layers: readonly (LayerTransform | null)[];

  constructor(source: TransformSource, layers: readonly (LayerTransform | null)[]) {
    this.source = source;
    this.layers = layers;
  }

  /** Their digest stands for them. */
  toJSON(): string {
    return this.source.digest;
  }
}

/** A triangle R [size, size] as text: its rows from the diagonal on, in float16, in base64. */
export function packTriangle(matrix: ArrayLike<number>, size: number): string {
  let bytes = '';
  for (let i = 0; i < size; i++)
    for (let j = i; j < size; j++) {
      const half = floatToHalf(matrix[i * size + j]);
      bytes += String.fromCharCode(half & 255, half >> 8);
    }
  return btoa(bytes);
}

/** The triangle; null where the text is none of this size that has an inverse. */
function unpackTriangle(text: string, size: number): Float64Array | null {
  const bytes = atob(text);
  if (bytes.length !== size * (size + 1)) return null;
  const matrix = new Float64Array(size * size);
  let at = 0;
  for (let i = 0; i < size; i++)
    for (let j = i; j < size; j++, at += 2)
      matrix[i * size + j] = halfToFloat(bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8));
  for (let i = 0; i < size; i++) if (!(matrix[i * size + i] > 0)) return null;
  return matrix.every(Number.isFinite) ? matrix : null;
}

/** The matrices of a layer. @param triangles of its groups, packed. @returns null where these do not fit. */
export function layerTransform(triangles: readonly string[], size: number): LayerTransform | null {
  const square = size * size;
  const [keys, queries] = [new Float32Array(triangles.length * square), new Float32Array(triangles.length * square)];
  for (const [group, text] of triangles.entries()) {
    const R = unpackTriangle(text, size);
    if (!R) return null;
    rotateInto(keys, group, R, size);
    rotateInto(queries, group, inverseTransposed(R, size), size);
  }
  return new LayerTransform(keys, queries, size);
}

/** Writes H·R to the matrix of a group. */
function rotateInto(out: Float32Array, group: number, R: Float64Array, size: number): void {
  const column = new Float32Array(size);
  for (let j = 0; j < size; j++) {
    for (let i = 0; i < size; i++) column[i] = R[i * size + j];
    hadamard(column, 0, size);
    for (let i = 0; i < size; i++) out[(group * size + i) * size + j] = column[i];
  }
}

/** R⁻ᵀ, lower triangular. */
function inverseTransposed(R: Float64Array, size: number): Float64Array {
  const result = new Float64Array(size * size);
  // Row i of the result solves Rᵀ… by forward substitution: Σ_b R[b, a]·x[b] = (a = i).
  for (let i = 0; i < size; i++)
    for (let a = i; a < size; a++) {
      let sum = a === i ? 1 : 0;
      for (let b = i; b < a; b++) sum -= R[b * size + a] * result[b * size + i];
      result[a * size + i] = sum / R[a * size + a];
    }
  return result;
}
