/**
 * @file What a parity case is: a folder or file that is recognized by what it holds, and a comparison with its golden
 * values.
 */
import { openFileSource } from '../../src/checkpoint/file-source-node.ts';
import { readSafetensors } from '../../src/checkpoint/safetensors.ts';
import type { Checkpoint } from '../../src/checkpoint/types.ts';

export interface CaseContext {
  /** Where prepared weights may be kept while the cases run. */
  readonly cacheDir: string;
  /** Folders to look for models in that a case names, besides the sibling folder `families`. */
  readonly models: readonly string[];
}

/** What a case found. It passes where `failures` is empty. */
export interface CaseResult {
  /** Largest absolute error of the values compared. */
  readonly error: number;
  readonly failures: readonly string[];
  /** What was compared, in a few words. */
  readonly note: string;
}

export interface CaseKind {
  readonly name: string;
  /** Whether a path (a file, or a folder with these entries) is a case of this kind. */
  matches(path: string, entries: readonly string[] | null): Promise<boolean> | boolean;
  run(path: string, context: CaseContext): Promise<CaseResult>;
}

/** A golden tensor: floats, or whole numbers as floats. */
export interface Golden {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** All tensors of a small safetensors file. */
export async function readGolden(path: string): Promise<Map<string, Golden>> {
  const source = await openFileSource(path);
  try {
    const { tensors } = await readSafetensors(source);
    const out = new Map<string, Golden>();
    for (const [name, tensor] of tensors) {
      const count = tensor.shape.reduce((a, b) => a * b, 1);
      out.set(name, { shape: tensor.shape, data: await tensor.readFloats(0, count) });
    }
    return out;
  } finally {
    await source.close();
  }
}

/** Rows of a matrix, as lists; a vector is one row. */
export function rowsOf({ shape, data }: Golden): number[][] {
  const [rows, length] = shape.length === 1 ? [1, shape[0]] : shape;
  return Array.from({ length: rows }, (_, r) => Array.from(data.subarray(r * length, (r + 1) * length)));
}

/** `count` pieces of equal length. */
export function cutInto({ data }: Golden, count: number): Float32Array[] {
  const length = data.length / count;
  return Array.from({ length: count }, (_, i) => data.slice(i * length, (i + 1) * length));
}

/** Largest error of a logit, in float32 against float64; a share of the largest logit where that is above 1. */
export const LOGIT_TOLERANCE = 2e-4;

/** Largest absolute difference; NaN anywhere, or lengths that differ, count as infinite. */
export function largestError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    // -1e30 stands for "never": every very low value says the same.
    if (expected[i] <= -1e30 && actual[i] <= -1e30) continue;
    const error = Math.abs(actual[i] - expected[i]);
    if (!(error <= worst)) worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
  }
  return worst;
}

/** {@link largestError}, as a share of the largest expected value where that is above 1. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let size = 1;
  for (let i = 0; i < expected.length; i++) if (expected[i] > -1e30) size = Math.max(size, Math.abs(expected[i]));
  return largestError(actual, expected) / size;
}

export function argmax(values: ArrayLike<number>, start = 0, end = values.length): number {
  let best = start;
  for (let i = start + 1; i < end; i++) if (values[i] > values[best]) best = i;
  return best - start;
}

export type { Checkpoint };
