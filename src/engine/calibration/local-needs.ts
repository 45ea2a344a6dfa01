/**
 * @file What a layer's attention loses where a query group attends to the first few tokens and the most recent ones
 * only.
 */
import { LOCAL_WINDOWS, MEASURED_SINKS } from '../../kvcache/routing/calibration-table.ts';
import type { LayerShape } from '../../kvcache/shape.ts';
import type { LayerProbe } from '../../step/probe.ts';

/** The groups of one layer, over all queries that were looked at. */
export class LocalNeeds {
  readonly #shape: LayerShape;
  /** Numbers of a value. */
  readonly #size: number;
  /**
   * Of each group: W Wᵀ, W the rows of the projection that its heads are multiplied with [R·Dv, R·Dv]; null: no
   * projection is known.
   */
  readonly #gram: readonly Float32Array[] | null;
  /** The values of the text so far [G, tokens, Dv]. */
  readonly #values: Float32Array;
  readonly #most: number;
  /** Sums of squares that are lost, by group and window. */
  readonly #lost: Float64Array;
  /**
   * Sum of the residual stream's mean squares; or of the squares of each group's own result, where no projection is
   * known.
   */
  readonly #stream: Float64Array;
  readonly #width: number;

  /**
   * @param projection transposed [H · Dv, E]. Without it, what is lost counts in parts of the group's own result.
   * @param most tokens of a text.
   */
  constructor(shape: LayerShape, projection: Float32Array | null, most: number) {
    const { groups, heads, keySize, valueSize } = shape;
    this.#shape = shape;
    this.#size = valueSize === 0 ? keySize : valueSize;
    this.#most = most;
    this.#values = new Float32Array(groups * most * this.#size);
    this.#lost = new Float64Array(groups * LOCAL_WINDOWS.length);
    this.#stream = new Float64Array(groups);
    const rows = heads * this.#size;
    this.#width = projection ? projection.length / rows : 1;
    this.#gram = projection && gramOf(projection, groups, rows / groups, this.#width);
  }

  /** @param first position of the chunk's first token. @param queries of the probe, as indices of the chunk. */
  add(probe: LayerProbe, first: number, queries: readonly number[]): void {
    const { groups, heads } = this.#shape;
    const R = heads / groups;
    const source = probe.values ?? probe.keys;
    const tokens = source.length / groups / this.#size;
    for (let g = 0; g < groups; g++) {
      const own = source.subarray(g * tokens * this.#size, (g + 1) * tokens * this.#size);
      this.#values.set(own, (g * this.#most + first) * this.#size);
    }
    const columns = probe.weights.length / (heads * queries.length);
    const { chunkColumn } = probe;
    for (let g = 0; g < groups; g++)
      for (const [i, t] of queries.entries()) {
        const rows = Array.from({ length: R }, (_, r) => {
          const at = ((g * R + r) * queries.length + i) * columns;
          const weights = new Float32Array(first + tokens);
          weights.set(probe.weights.subarray(at, at + first));
          weights.set(probe.weights.subarray(at + chunkColumn, at + chunkColumn + tokens), first);
          return weights;
        });
        this.#addQuery(g, rows, first + t, probe.residual);
      }
  }

  /** By group and window. */
  result(): number[][] {
    return Array.from({ length: this.#shape.groups }, (_, g) =>
      LOCAL_WINDOWS.map((_, w) => {
        const whole = this.#width * this.#stream[g];
        return Number((whole > 0 ? this.#lost[g * LOCAL_WINDOWS.length + w] / whole : 0).toPrecision(5));
      }),
    );
  }

  /** One query of all of a group's heads. @param rows weights on all positions, by head. */
  #addQuery(group: number, rows: readonly Float32Array[], position: number, residual: number): void {
    const inner = rows.length * this.#size;
    // What is lost, by window [windows, R · Dv].
    const lost = new Float32Array(LOCAL_WINDOWS.length * inner);
    let own = 0;
    for (const [r, weights] of rows.entries())
      own += this.#loseHead(group, weights, position, lost.subarray(r * this.#size), inner);
    this.#stream[group] += this.#gram ? residual : own;
    const gram = this.#gram?.[group];
    for (let w = 0; w < LOCAL_WINDOWS.length; w++) {
      if (position + 1 <= MEASURED_SINKS + LOCAL_WINDOWS[w]) break;
      const part = lost.subarray(w * inner, (w + 1) * inner);
      this.#lost[group * LOCAL_WINDOWS.length + w] += gram ? squareUnder(gram, part) : squareOf(part);
    }
  }

  /**
   * Full attention minus attention to sinks and recent tokens, for one head.
   * @param out [windows, stride], of which the first Dv are written.
   * @returns the square of the full result.
   */
  #loseHead(group: number, weights: Float32Array, position: number, out: Float32Array, stride: number): number {
    const size = this.#size;
    const values = this.#values;
    const base = group * this.#most;
    const addTo = (sum: Float64Array, j: number): number => {
      const at = (base + j) * size;
      for (let i = 0; i < size; i++) sum[i] += weights[j] * values[at + i];
      return weights[j];
    };
    const sinks = new Float64Array(size);
    const recent = new Float64Array(size);
    const kept = new Float64Array(LOCAL_WINDOWS.length);
    const first = Math.min(MEASURED_SINKS, position + 1);
    let weight = 0;
    for (let j = 0; j < first; j++) weight += addTo(sinks, j);
    let windows = 0;
    for (let j = position; j >= first; j--) {
      weight += addTo(recent, j);
      if (position - j + 1 !== LOCAL_WINDOWS[windows]) continue;
      kept[windows] = weight;
      for (let i = 0; i < size; i++) out[windows * stride + i] = sinks[i] + recent[i];
      windows++;
    }
    // Weights may sum to less than 1: a learned sink takes the rest, whatever is kept.
    const rest = Math.max(0, 1 - weight);
    let square = 0;
    for (let i = 0; i < size; i++) {
      const full = sinks[i] + recent[i];
      square += full * full;
      for (let w = 0; w < windows; w++) {
        const share = kept[w] + rest;
        out[w * stride + i] = full - (share > 0 ? out[w * stride + i] / share : 0);
      }
    }
    return square;
  }
}

/** Of each group: the products of all pairs of rows [rows, rows]. @param matrix [groups · rows, width] */
function gramOf(matrix: Float32Array, groups: number, rows: number, width: number): Float32Array[] {
  return Array.from({ length: groups }, (_, g) => {
    const gram = new Float32Array(rows * rows);
    for (let a = 0; a < rows; a++)
      for (let b = 0; b <= a; b++) {
        const [x, y] = [(g * rows + a) * width, (g * rows + b) * width];
        let sum = 0;
        for (let i = 0; i < width; i++) sum += matrix[x + i] * matrix[y + i];
        gram[a * rows + b] = sum;
        gram[b * rows + a] = sum;
      }
    return gram;
  });
}

/** xᵀ M x, M symmetric. */
function squareUnder(gram: Float32Array, x: Float32Array): number {
  const n = x.length;
  let sum = 0;
  for (let a = 0; a < n; a++) {
    const row = a * n;
    let part = 0;
    for (let b = 0; b < a; b++) part += gram[row + b] * x[b];
    sum += x[a] * (2 * part + gram[row + a] * x[a]);
  }
  return sum;
}

function squareOf(x: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  return sum;
}
