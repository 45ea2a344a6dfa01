/**
 * @file How similar two vectors are.
 */
import { InputError } from '../util/errors.ts';
import type { SimilarityName } from './modules.ts';

/**
 * Cosine and dot product; of distances the negative, so that more is more similar.
 * @throws InputError for vectors of different lengths.
 */
export function similarity(name: SimilarityName, a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length)
    throw new InputError(`vectors of ${a.length} and ${b.length} numbers are not of one model: they can't be compared`);
  let [dot, squaresA, squaresB, squares, steps] = [0, 0, 0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    squaresA += a[i] ** 2;
    squaresB += b[i] ** 2;
    squares += (a[i] - b[i]) ** 2;
    steps += Math.abs(a[i] - b[i]);
  }
  if (name === 'dot') return dot;
  if (name === 'euclidean') return -Math.sqrt(squares);
  if (name === 'manhattan') return -steps;
  return dot / (Math.max(Math.sqrt(squaresA), 1e-12) * Math.max(Math.sqrt(squaresB), 1e-12));
}
