/**
 * @file Which format each matrix gets, where all of them together may have so many bits: those with the smallest
 * errors.
 */
import { bitsOf, GGML_BLOCKS, type GgmlFormat, isTable, type MatrixInfo } from './ggml-formats.ts';

/** Changes whenever the same weights would be mixed otherwise. */
export const MIX_VERSION = 1;
/** Mean bits of all parameters of a model in `int4`, at most. */
export const MIX_BITS = 5;

/**
 * Formats of a matrix that is multiplied. q4_1, q5_0 and q5_k are left out: prompts take 1.5 times as long in them as
 * in those with 4.5 bits, which have fast layouts (AMD EPYC, AVX-512 VNNI). With q4_1, prompts of SmolLM2-135M took 1.8
 * times as long as in q4_0, and its perplexity was 5 % lower (its file is stored in q4_1).
 */
const BODY: readonly GgmlFormat[] = ['q4_k', 'iq4_nl', 'q6_k', 'q8_0'];
/** Formats of embedding and head. */
const TABLE: readonly GgmlFormat[] = ['q5_1', 'q6_k', 'q8_0'];

/** The formats that a matrix may get. */
export function mixFormats(matrix: MatrixInfo): readonly GgmlFormat[] {
  return (isTable(matrix) ? TABLE : BODY).filter((format) => matrix.cols % GGML_BLOCKS[format][0] === 0);
}

/** What is known of a matrix. */
export interface MixedMatrix {
  readonly name: string;
  /** Number of its values. */
  readonly values: number;
  /** The part of its output's energy that is an error in each format. */
  readonly errors: ReadonlyMap<GgmlFormat, number>;
}

interface Step {
  readonly name: string;
  readonly format: GgmlFormat;
  readonly bits: number;
  readonly gain: number;
}

/**
 * Formats with the smallest sum of errors among those whose bits are at most `most` together (up to one step of one
 * matrix). Each matrix has its smallest format at least.
 * @param most bits of all matrices.
 */
export function chooseMix(matrices: readonly MixedMatrix[], most: number): ReadonlyMap<string, GgmlFormat> {
  const chosen = new Map<string, GgmlFormat>();
  const steps: Step[] = [];
  let left = most;
  for (const matrix of matrices) {
    const [first, ...more] = hullOf(matrix);
    chosen.set(matrix.name, first.format);
    left -= first.bits;
    let last = first;
    for (const next of more) {
      const bits = next.bits - last.bits;
      steps.push({ name: matrix.name, format: next.format, bits, gain: (last.error - next.error) / bits });
      last = next;
    }
  }
  steps.sort((a, b) => b.gain - a.gain);
  const ended = new Set<string>();
  for (const { name, format, bits } of steps) {
    if (ended.has(name)) continue;
    if (bits > left) {
      ended.add(name);
      continue;
    }
    chosen.set(name, format);
    left -= bits;
  }
  return chosen;
}

/** Formats in ascending bits, each of which gains less a bit than the one before. */
function hullOf({ values, errors }: MixedMatrix) {
  const points = [...errors]
    .map(([format, error]) => ({ format, error, bits: values * bitsOf(format) }))
    .sort((a, b) => a.bits - b.bits || a.error - b.error);
  const hull: typeof points = [];
  const slope = (a: (typeof points)[0], b: (typeof points)[0]) => (a.error - b.error) / (b.bits - a.bits);
  for (const point of points) {
    const last = hull.at(-1);
    if (last && (point.bits === last.bits || point.error >= last.error)) continue;
    while (hull.length > 1 && slope(hull.at(-1)!, point) >= slope(hull.at(-2)!, hull.at(-1)!)) hull.pop();
    hull.push(point);
  }
  return hull;
}
