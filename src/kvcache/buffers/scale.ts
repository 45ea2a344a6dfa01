/**
 * @file Numbers as whole numbers with a scale. In 4 or 5 bits the largest number alone would set it too large or too
 * small for the others: of a few scales near that one, the one that loses least is taken.
 */

/** Gains that differ by no more than rounding are the same: then the first is taken. */
const TIE = 1e-9;

/** Scales that are tried at once. */
const AT_ONCE = 3;

/**
 * 1 / scale of those that put the largest number at the highest whole number, then a little above the lowest one, at it,
 * and below it.
 */
const inverses = new Float64Array(4);
/** Σxq and Σq² of those that are tried. */
const sums = new Float64Array(2 * AT_ONCE);

/**
 * The scale s with the least Σ(x − s·q)², of a few: q is x / s rounded to whole numbers from −zero to zero − 1.
 * It never leaves more squared error than the scale by the largest number; of rotated vectors in 4 bits a tenth less.
 * @param from index of the first number of `source`.
 * @param isPositive whether s must not be negative.
 * @returns 0 where all numbers are 0, and NaN where one is not finite.
 */
export function bestScale(
  source: Float32Array,
  from: number,
  count: number,
  zero: number,
  isPositive: boolean,
): number {
  const extreme = furthest(source, from, count);
  if (!Number.isFinite(extreme)) return Number.NaN;
  if (extreme === 0) return 0;
  const unit = (isPositive ? zero : -zero) / (isPositive ? Math.abs(extreme) : extreme);
  inverses[0] = unit * ((zero - 1) / zero);
  inverses[1] = unit * 0.95;
  inverses[2] = unit;
  inverses[3] = unit * 1.05;
  let best = 0;
  let most = 0;
  // A scale that is not negative has one level less for positive numbers: then the largest is tried there, too.
  for (let first = isPositive ? 0 : 1; first + AT_ONCE <= inverses.length; first++) {
    addUp(source, from, count, zero, first);
    for (let at = 0; at < sums.length; at += 2) {
      // For these q the best scale is Σxq / Σq², which leaves Σx² less this.
      const gain = (sums[at] * sums[at]) / sums[at + 1];
      if (gain > most * (1 + TIE)) {
        best = sums[at] / sums[at + 1];
        most = gain;
      }
    }
  }
  return best;
}

/** Fills {@link sums} for scales from the `first` on. One pass over the numbers for each scale took twice as long. */
function addUp(source: Float32Array, from: number, count: number, zero: number, first: number): void {
  const a = inverses[first];
  const b = inverses[first + 1];
  const c = inverses[first + 2];
  let xa = 0;
  let qa = 0;
  let xb = 0;
  let qb = 0;
  let xc = 0;
  let qc = 0;
  for (let i = from; i < from + count; i++) {
    const x = source[i];
    const p = wholeCode(x * a, zero) - zero;
    const q = wholeCode(x * b, zero) - zero;
    const r = wholeCode(x * c, zero) - zero;
    xa += x * p;
    qa += p * p;
    xb += x * q;
    qb += q * q;
    xc += x * r;
    qc += r * r;
  }
  sums[0] = xa;
  sums[1] = qa;
  sums[2] = xb;
  sums[3] = qb;
  sums[4] = xc;
  sums[5] = qc;
}

/** The number that is furthest from 0; NaN or infinite where one is. */
function furthest(source: Float32Array, from: number, count: number): number {
  let extreme = 0;
  let largest = 0;
  let sum = 0;
  for (let i = from; i < from + count; i++) {
    const x = source[i];
    const size = Math.abs(x);
    sum += size;
    if (size > largest) {
      extreme = x;
      largest = size;
    }
  }
  return Number.isNaN(sum) ? sum : extreme;
}

/**
 * Rounds `count` numbers from index `from` on to codes from index `to` on.
 *
 * With feedback what a number loses is made up for in those after it. A vector x that is rounded to x − e makes an error
 * q·e of its product with q, whose mean square is eᵀMe, where M = E[q·qᵀ]. Once the numbers up to i are rounded,
 * eᵀMe is least if each later number j is taken less eᵢ·fᵢⱼ (as GPTQ does with weights and their inputs, arXiv 2210.17323).
 * @param scale the numbers are about (code − zero) · scale.
 * @param source with feedback: one vector, whose numbers behind each one are changed.
 * @param feedback f: the rows of a triangle without its diagonal [size·(size − 1) / 2]; absent: there is none.
 */
export function roundNumbers(
  source: Float32Array,
  from: number,
  count: number,
  scale: number,
  zero: number,
  codes: Uint8Array,
  to: number,
  feedback: Float32Array | null | undefined,
): void {
  const inverse = scale === 0 ? 0 : 1 / scale;
  if (!feedback) {
    for (let i = 0; i < count; i++) codes[to + i] = wholeCode(source[from + i] * inverse, zero);
    return;
  }
  const size = source.length;
  for (let i = from, at = (from * (2 * size - from - 1)) / 2; i < from + count; i++) {
    const code = wholeCode(source[i] * inverse, zero);
    const lost = source[i] - (code - zero) * scale;
    codes[to + i - from] = code;
    for (let j = i + 1; j < size; j++) source[j] -= lost * feedback[at++];
  }
}

/** A number, of some thousands at most, as a code from 0 to 2·zero − 1: rounded, and `zero` more. */
export function wholeCode(x: number, zero: number): number {
  const code = (x + zero + 0.5) | 0;
  return Math.max(0, Math.min(2 * zero - 1, code));
}
