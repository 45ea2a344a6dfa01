/**
 * @file Lengths of axes: numbers where they are known when the graph is traced, names (`'B'`, `'T'`) where a step gives
 * them.
 */
import { GraphError } from '../util/errors.ts';

/** A length: known, or named. */
export type Dim = number | string;

/** The length of two pieces put end to end. */
export function addDims(...dims: readonly Dim[]): Dim {
  const known = dims.filter((d) => typeof d === 'number').reduce((a, b) => a + b, 0);
  const named = dims.filter((d) => typeof d === 'string' && d !== '');
  if (named.length === 0) return known;
  return [...named, ...(known > 0 ? [known] : [])].join('+');
}

/** The length of `times` pieces of length `dim`. */
export function timesDim(times: number, dim: Dim): Dim {
  if (typeof dim === 'number') return times * dim;
  return times === 1 ? dim : `${times}*(${dim})`;
}

/** `axis`, counted from the end where it is negative. */
export function axisOf(shape: readonly Dim[], axis: number): number {
  return axis < 0 ? shape.length + axis : axis;
}

/** `shape` with another length of one axis. */
export function withDim(shape: readonly Dim[], axis: number, dim: Dim): Dim[] {
  return shape.map((d, i) => (i === axis ? dim : d));
}

/** The shape of an elementwise result under NumPy's broadcasting; a name wins over 1, a number over a name. */
export function broadcast(a: readonly Dim[], b: readonly Dim[]): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x === y || y === 1) return x;
    if (x === 1) return y;
    if (typeof x === 'number' && typeof y === 'number')
      throw new GraphError(`shapes [${a}] and [${b}] do not fit each other`);
    return typeof x === 'number' ? x : y;
  });
}

/** A length with numbers in place of names; names that are not given are 1. */
export function lengthOf(dim: Dim, lengths: Readonly<Record<string, number>>): number {
  if (typeof dim === 'number') return dim;
  // Sums of products, which have sums in brackets.
  let depth = 0;
  const split = (text: string, operator: string): string[] => {
    const parts = [''];
    for (const letter of text) {
      if (letter === '(') depth++;
      if (letter === ')') depth--;
      if (letter === operator && depth === 0) parts.push('');
      else parts[parts.length - 1] += letter;
    }
    return parts;
  };
  const factor = (text: string): number => {
    if (text.startsWith('(')) return lengthOf(text.slice(1, -1), lengths);
    return /^\d+$/.test(text) ? Number(text) : (lengths[text] ?? 1);
  };
  const product = (text: string): number => split(text, '*').reduce((value, part) => value * factor(part), 1);
  return split(dim, '+').reduce((sum, part) => sum + product(part), 0);
}
