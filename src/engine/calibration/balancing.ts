/**
 * @file The matrix that keys are multiplied by so that rounding them costs least. It balances the second moments of keys
 * and queries (a balancing transformation): of all matrices it has the least tr(E[q·qᵀ])·tr(E[k·kᵀ]).
 */

/** Parts of its mean that are added to a diagonal: dimensions that a text does not show keep a finite scale. */
const SHRINKAGE = 1e-3;
/** Rotations over all pairs: Jacobi's method takes 6 to 10 of them. */
const MOST_SWEEPS = 30;

/**
 * R, upper triangular: RᵀR is the geometric mean of the moments of queries and the inverse of those of keys. Another
 * matrix M with MᵀM = RᵀR is R times a rotation. The diagonal's mean square is 1, so that float16 holds the numbers.
 * @param q E[q·qᵀ] and @param k E[k·kᵀ], [size, size]; multiples of them do.
 */
export function balancingTriangle(q: Float64Array, k: Float64Array, size: number): Float64Array {
  const L = cholesky(shrunk(k, size), size);
  const Q = shrunk(q, size);
  // RᵀR = L⁻ᵀ·C^½·L⁻¹, with C = LᵀQL and K = LLᵀ.
  const C = product(product(transposed(L, size), Q, size), L, size);
  const W = eigenvectors(C, size); // C becomes diagonal
  // Row i: λᵢ^¼ times column i of L⁻ᵀW.
  const M = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    const factor = Math.max(0, C[i * size + i]) ** 0.25;
    const row = M.subarray(i * size, (i + 1) * size);
    for (let a = size - 1; a >= 0; a--) {
      let sum = factor * W[a * size + i];
      for (let b = a + 1; b < size; b++) sum -= L[b * size + a] * row[b];
      row[a] = sum / L[a * size + a];
    }
  }
  const R = transposed(cholesky(product(transposed(M, size), M, size), size), size);
  let square = 0;
  for (let i = 0; i < size; i++) square += R[i * size + i] ** 2 / size;
  return R.map((x) => x / Math.sqrt(square));
}

/** The matrix with a part of its mean diagonal added; the identity in place of zeros. */
function shrunk(matrix: Float64Array, size: number): Float64Array {
  let trace = 0;
  for (let i = 0; i < size; i++) trace += matrix[i * size + i];
  const result = matrix.slice();
  const more = trace > 0 ? (SHRINKAGE * trace) / size : 1;
  for (let i = 0; i < size; i++) result[i * size + i] += more;
  return result;
}

/** L, lower triangular: L·Lᵀ is the matrix. */
function cholesky(matrix: Float64Array, size: number): Float64Array {
  const L = new Float64Array(size * size);
  for (let a = 0; a < size; a++)
    for (let b = 0; b <= a; b++) {
      let sum = matrix[a * size + b];
      for (let i = 0; i < b; i++) sum -= L[a * size + i] * L[b * size + i];
      L[a * size + b] = a === b ? Math.sqrt(sum) : sum / L[b * size + b];
    }
  return L;
}

function transposed(a: Float64Array, size: number): Float64Array {
  return a.map((_, i) => a[(i % size) * size + Math.floor(i / size)]);
}

function product(a: Float64Array, b: Float64Array, size: number): Float64Array {
  const result = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let n = 0; n < size; n++) {
      const x = a[i * size + n];
      for (let j = 0; j < size; j++) result[i * size + j] += x * b[n * size + j];
    }
  return result;
}

/** Jacobi's method: makes a symmetric matrix diagonal in place. @returns its eigenvectors, as columns. */
function eigenvectors(matrix: Float64Array, size: number): Float64Array {
  const vectors = new Float64Array(size * size);
  for (let i = 0; i < size; i++) vectors[i * size + i] = 1;
  for (let sweep = 0, isDiagonal = false; sweep < MOST_SWEEPS && !isDiagonal; sweep++) {
    isDiagonal = true;
    for (let p = 0; p < size - 1; p++)
      for (let q = p + 1; q < size; q++) {
        const off = matrix[p * size + q];
        const [x, y] = [matrix[p * size + p], matrix[q * size + q]];
        if (Math.abs(off) <= 1e-12 * Math.sqrt(Math.abs(x * y))) continue;
        isDiagonal = false;
        const theta = (y - x) / (2 * off);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const cos = 1 / Math.sqrt(t * t + 1);
        const sin = t * cos;
        turn(matrix, p, q, size, cos, sin); // columns
        turn(matrix, p * size, q * size, 1, cos, sin); // rows
        turn(vectors, p, q, size, cos, sin);
      }
  }
  return vectors;
}

/** Rotates two columns, or two rows: they begin at `from` and `to`, and their numbers are `step` apart. */
function turn(x: Float64Array, from: number, to: number, step: number, cos: number, sin: number): void {
  const size = Math.sqrt(x.length);
  for (let n = 0, i = from, j = to; n < size; n++, i += step, j += step) {
    const a = x[i];
    const b = x[j];
    x[i] = cos * a - sin * b;
    x[j] = sin * a + cos * b;
  }
}
