/**
 * @file An adapter in memory as the graph's inputs take it (src/model/adapt.ts): by packed layer, what it adds to the
 * layer's own result. All of it is linear in the adapter's weight, so that several adapters add up, and weight 0 is the
 * base.
 */
import { attentionWithin } from '../../config/layer-spec.ts';
import { AdapterError } from '../../util/errors.ts';
import { PIECE_VALUES } from '../../util/numbers.ts';
import type { RowSource } from '../../weights/types.ts';
import type { BasePart, BaseRows } from '../base-model.ts';
import { changedBias, changesBias, factorsOf, rowsOf } from '../merge/change-rows.ts';
import type { Adapter, LowRank, Matrix, PartChange, PrefixChange } from '../types.ts';

/** A low-rank part of a packed layer's columns `start …`. */
export interface Piece {
  /** [r, in]; for the embedding [r, width]. */
  readonly a: Matrix;
  /** [r, columns]; for the embedding [V, r]. */
  readonly b: Matrix;
  readonly start: number;
}

/** y' = y + (scale - 1) ⊙ y + Σ (x · aᵀ) · b + shift. */
export interface HookChange {
  /** Columns of the layer; null for the embedding. */
  readonly out: number | null;
  readonly pieces: readonly Piece[];
  /** [out] */
  readonly scale: Float32Array | null;
  readonly shift: Float32Array | null;
}

/** A norm's weight and bias, the base's and the adapter's. */
export interface NormChange {
  readonly baseWeight: Float32Array;
  readonly weight: Float32Array;
  readonly baseBias: Float32Array | null;
  readonly bias: Float32Array | null;
}

/** Keys and values of a prefix [G, P, D], and a gate for each head [H]. */
export interface LivePrefix {
  readonly length: number;
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly gates: Float32Array;
}

export interface LiveAdapter {
  readonly name: string;
  readonly fingerprint: string;
  readonly hooks: ReadonlyMap<string, HookChange>;
  readonly norms: ReadonlyMap<string, NormChange>;
  readonly prefixes: ReadonlyMap<number, LivePrefix>;
}

/**
 * Takes an adapter into memory. DoRA's row lengths, prefixes and replaced weights are computed here, of the
 * checkpoint's rows.
 * @throws AdapterError for changes that only merged weights can hold.
 */
export async function makeLive(
  adapter: Adapter,
  base: BaseRows,
  name: string,
  fingerprint: string,
): Promise<LiveAdapter> {
  const hooks = new Map<string, HookChange>();
  const byHook = new Map<string, BasePart[]>();
  for (const part of base.parts.values()) byHook.set(part.hook, [...(byHook.get(part.hook) ?? []), part]);
  for (const [hook, parts] of byHook) {
    if (!parts.some((part) => adapter.parts.has(part.name))) continue;
    const change = parts[0].embedding
      ? await embeddingChange(base, parts[0], adapter.parts.get(parts[0].name)!)
      : await hookChange(base, parts, adapter);
    if (change) hooks.set(hook, change);
  }
  return {
    name,
    fingerprint,
    hooks,
    norms: await normChanges(adapter, base),
    prefixes: await livePrefixes(adapter, base),
  };
}

/** What of an adapter can't be a weight: prefixes. Null where all of it can. */
export async function makePrefixesLive(adapter: Adapter, base: BaseRows): Promise<LiveAdapter | null> {
  if (adapter.prefixes.size === 0) return null;
  const prefixes = await livePrefixes(adapter, base);
  // A name that no adapter of the caller's can have.
  return { name: `\0${adapter.identity}`, fingerprint: '', hooks: new Map(), norms: new Map(), prefixes };
}

async function hookChange(base: BaseRows, parts: readonly BasePart[], adapter: Adapter): Promise<HookChange | null> {
  const out = parts.reduce((sum, part) => sum + part.rows, 0);
  const pieces = new Pieces();
  let scale: Float32Array | null = null;
  let shift: Float32Array | null = null;
  for (const part of parts) {
    const change = adapter.parts.get(part.name);
    if (!change) continue;
    const rows = base.weight(part.name);
    const whole = await replacement(rows, change);
    const factors = whole ? null : await factorsOf(rows, change);
    // A matrix that is replaced counts for nothing; the other is added whole, which rounds less than their difference.
    const kept = whole ? new Float32Array(part.rows) : factors;
    if (kept?.some((f) => f !== 1)) {
      scale ??= new Float32Array(out).fill(1);
      scale.set(kept, part.start);
    }
    const lowRank = whole ?? change.lowRank;
    if (lowRank) pieces.add(lowRank, part.start, factors);
    const added = await addedBias(base, part, change, kept);
    if (added?.some((d) => d !== 0)) {
      shift ??= new Float32Array(out);
      shift.set(added, part.start);
    }
  }
  const made = pieces.made();
  return made.length > 0 || scale || shift ? { out, pieces: made, scale, shift } : null;
}

/** b' less what the scale makes of the bias that is in the layer's result already. */
async function addedBias(
  base: BaseRows,
  part: BasePart,
  change: PartChange,
  scale: Float32Array | null,
): Promise<Float32Array | null> {
  const bias = base.bias(part.name);
  const isInside = base.addsBias(part.hook);
  if (!changesBias(change, bias !== null) && !(bias && isInside && scale)) return null;
  const own = (await bias?.read(0, part.rows)) ?? new Float32Array(part.rows);
  const made = (await changedBias(bias, part.rows, [{ change, weight: 1 }])?.read(0, part.rows)) ?? own;
  return made.map((b, i) => b - own[i] * (isInside ? (scale?.[i] ?? 1) : 1));
}

/** Low-rank parts of one packed layer; those that share A become one, over all the columns of them. */
class Pieces {
  readonly #found = new Map<Matrix, { b: Matrix; start: number; factors: Float32Array | null }[]>();

  add({ a, b }: LowRank, start: number, factors: Float32Array | null): void {
    if (b.data.every((x) => x === 0)) return;
    this.#found.set(a, [...(this.#found.get(a) ?? []), { b, start, factors }]);
  }

  made(): Piece[] {
    return [...this.#found].map(([a, parts]) => {
      const start = Math.min(...parts.map((part) => part.start));
      const cols = Math.max(...parts.map((part) => part.start + part.b.rows)) - start;
      const data = new Float32Array(a.rows * cols);
      for (const { b, start: first, factors } of parts)
        for (let i = 0; i < b.rows; i++)
          for (let k = 0; k < a.rows; k++)
            data[k * cols + first - start + i] = b.data[i * b.cols + k] * (factors ? factors[i] : 1);
      return { a, b: { rows: a.rows, cols, data }, start };
    });
  }
}

/** Where another matrix replaces the base's: the change, as one of full rank, the identity times itself. */
async function replacement(base: RowSource, change: PartChange, embedding = false): Promise<LowRank | undefined> {
  if (!change.weight || (await areEqual(base, change.weight))) return undefined;
  const { rows, cols } = base;
  return { a: identity(cols), b: { rows, cols, data: await rowsOf(base, change, embedding).read(0, rows) } };
}

async function areEqual(one: RowSource, other: RowSource): Promise<boolean> {
  const step = Math.max(1, Math.floor(PIECE_VALUES / one.cols));
  for (let start = 0; start < one.rows; start += step) {
    const count = Math.min(step, one.rows - start);
    const [a, b] = [await one.read(start, count), await other.read(start, count)];
    if (a.some((x, i) => x !== b[i])) return false;
  }
  return true;
}

const identities = new Map<number, WeakRef<Matrix>>();

/** One object for each size, so that parts of a layer share it. */
function identity(size: number): Matrix {
  const known = identities.get(size)?.deref();
  if (known) return known;
  const data = new Float32Array(size * size);
  for (let i = 0; i < size; i++) data[i * size + i] = 1;
  const matrix = { rows: size, cols: size, data };
  identities.set(size, new WeakRef(matrix));
  return matrix;
}

/** Rows of the embedding table are gathered from b, and multiplied with a. */
async function embeddingChange(base: BaseRows, part: BasePart, change: PartChange): Promise<HookChange | null> {
  const { cols } = part;
  const rows = base.weight(part.name);
  const whole = await replacement(rows, change, true);
  const factors = whole ? null : await factorsOf(rows, change, true);
  const scale = whole ? new Float32Array(cols) : factors;
  const used = whole ?? change.lowRank;
  if (!used || used.b.data.every((x) => x === 0)) return scale ? { out: null, pieces: [], scale, shift: null } : null;
  const data = factors ? used.a.data.map((x, i) => x * factors[i % cols]) : used.a.data;
  return { out: null, pieces: [{ a: { ...used.a, data }, b: used.b, start: 0 }], scale, shift: null };
}

async function normChanges(adapter: Adapter, base: BaseRows): Promise<Map<string, NormChange>> {
  const norms = new Map<string, NormChange>();
  const read = (rows: RowSource) => rows.read(0, rows.rows);
  for (const name of adapter.vectors.keys()) {
    const norm = name.replace(/\.\w+$/, '');
    const weightName = `${norm}.weight`;
    if (norms.has(norm)) continue;
    if (!base.vectors.has(weightName))
      throw new AdapterError(`${adapter.name}: ${name} can't be changed by a live adapter; merge it`);
    const baseWeight = await read(base.vector(weightName));
    const biasName = `${norm}.bias`;
    const baseBias = base.vectors.has(biasName) ? await read(base.vector(biasName)) : null;
    const weight = adapter.vectors.get(weightName);
    const bias = adapter.vectors.get(biasName);
    norms.set(norm, {
      baseWeight,
      weight: weight ? await read(weight) : baseWeight,
      baseBias,
      bias: bias ? await read(bias) : baseBias,
    });
  }
  return norms;
}

async function livePrefixes(adapter: Adapter, base: BaseRows): Promise<Map<number, LivePrefix>> {
  const prefixes = new Map<number, LivePrefix>();
  for (const [layer, prefix] of adapter.prefixes) {
    const [keys, values] = [await projected('k'), await projected('v')];
    prefixes.set(layer, { length: prefix.embeddings.rows, keys, values, gates: prefix.gates });

    /** The prefix through the layer's own matrix, as this adapter makes it; neither normalized nor rotated. */
    async function projected(which: 'k' | 'v'): Promise<Float32Array> {
      const part = `h.${layer}.attn.${which}`;
      const change = adapter.parts.get(part) ?? {};
      const weights = await rowsOf(base.weight(part), change).read(0, base.parts.get(part)!.rows);
      const rows = base.parts.get(part)!.rows;
      const bias = await changedBias(base.bias(part), rows, [{ change, weight: 1 }])?.read(0, rows);
      const { groups } = attentionWithin(base.config.layers[layer].mixer)!;
      return byHeads(prefix, weights, bias ?? null, groups);
    }
  }
  return prefixes;
}

/** embeddings · Wᵀ + b as [G, P, D]. @param weights [G·D, E] */
function byHeads(
  { embeddings }: PrefixChange,
  weights: Float32Array,
  bias: Float32Array | null,
  groups: number,
): Float32Array {
  const { rows: P, cols: E, data } = embeddings;
  const D = weights.length / E / groups;
  const out = new Float32Array(groups * P * D);
  for (let g = 0; g < groups; g++)
    for (let d = 0; d < D; d++) {
      const row = g * D + d;
      for (let p = 0; p < P; p++) {
        let sum = bias ? bias[row] : 0;
        for (let e = 0; e < E; e++) sum += weights[row * E + e] * data[p * E + e];
        out[(g * P + p) * D + d] = sum;
      }
    }
  return out;
}
