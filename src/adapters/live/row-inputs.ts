/**
 * @file From which adapters each row of a batch uses to the inputs of one step: adapters are stacked along their ranks,
 * and each row counts the ranks of its own.
 */
import type { Config } from '../../config/config.ts';
import { attentionWithin } from '../../config/layer-spec.ts';
import { HIDDEN } from '../../kvcache/slots/slots.ts';
import type { StepAdapters } from '../../step/step-types.ts';
import { sha256 } from '../../util/sha256.ts';
import type { HookChange, LiveAdapter } from './live-adapter.ts';
import { type RankRun, type Stack, stackOf } from './stack.ts';

/** Adapters of one row, each with its weight. */
export type RowUse = readonly { readonly adapter: LiveAdapter; readonly weight: number }[];

interface Input {
  readonly data: Float32Array | BigInt64Array;
  readonly dims: readonly number[];
}

/** Stacked matrices, which depend on the adapters of a batch and not on which row uses which. */
export type StackCache = Map<string, Stack>;

/**
 * @param rows one for each row of the batch.
 * @param stacks of the same adapters in the same order; filled here.
 * @returns null where no row uses any adapter.
 */
export function batchAdapters(
  config: Config,
  rows: readonly RowUse[],
  adapters: readonly LiveAdapter[],
  stacks: StackCache,
): StepAdapters | null {
  if (adapters.length === 0) return null;
  return new Batch(config, rows, adapters, stacks).made();
}

/** The adapters that any row uses, each once, in the order of their first use. */
export function usedAdapters(rows: readonly RowUse[]): LiveAdapter[] {
  return [...new Set(rows.flat().flatMap(({ adapter, weight }) => (weight === 0 ? [] : adapter)))];
}

class Batch {
  readonly #config: Config;
  /** What differs between rows; where nothing does, one stands for all. */
  readonly #rows: readonly RowUse[];
  readonly #adapters: readonly LiveAdapter[];
  readonly #stacks: StackCache;
  readonly #perRow: boolean;
  readonly #inputs = new Map<string, Input>();

  constructor(config: Config, rows: readonly RowUse[], adapters: readonly LiveAdapter[], stacks: StackCache) {
    this.#config = config;
    this.#adapters = adapters;
    this.#stacks = stacks;
    this.#perRow = !rows.every((row) => adapters.every((adapter) => weightOf(row, adapter) === 1));
    this.#rows = this.#perRow ? rows : rows.slice(0, 1);
  }

  made(): StepAdapters {
    const lowRank = this.#lowRank();
    const scale = this.#vectors('scale');
    const shift = this.#vectors('shift');
    const norms = this.#norms();
    const prefixes = this.#prefixes();
    const sets = { lowRank, scale, shift, norms, prefixes };
    const key = sha256(JSON.stringify([this.#perRow, ...Object.values(sets).map((set) => [...set])]));
    return { hooks: { perRow: this.#perRow, ...sets }, key, inputs: this.#inputs };
  }

  #put(name: string, data: Float32Array | BigInt64Array, dims: readonly number[]): void {
    this.#inputs.set(name, { data, dims });
  }

  #lowRank(): Map<string, readonly number[]> {
    const widths = new Map<string, readonly number[]>();
    for (const name of this.#hooksWith(({ pieces }) => pieces.length > 0)) {
      const { a, blocks, runs } = this.#stack(name);
      const isTable = name === 'wte';
      widths.set(name, isTable ? [a.cols] : blocks.map(({ cols }) => cols));
      this.#put(`lora.a.${name}`, a.data, [a.rows, a.cols]);
      for (const [i, b] of blocks.entries())
        this.#put(`lora.b.${name}${blocks.length > 1 ? `.${i}` : ''}`, b.data, [b.rows, b.cols]);
      if (blocks.length > 1) {
        const ranks = BigInt64Array.from(blocks, ({ rows }) => BigInt(rows));
        this.#put(`lora.ranks.${name}`, ranks, [blocks.length]);
      }
      if (this.#perRow) this.#put(`lora.mask.${name}`, this.#mask(runs, a.rows), [this.#rows.length, 1, a.rows]);
    }
    return widths;
  }

  #stack(name: string): Stack {
    const known = this.#stacks.get(name);
    if (known) return known;
    const stack = stackOf(name, this.#adapters);
    this.#stacks.set(name, stack);
    return stack;
  }

  /** How much each rank counts for each row. */
  #mask(runs: readonly RankRun[], rank: number): Float32Array {
    const mask = new Float32Array(this.#rows.length * rank);
    let at = 0;
    for (const { adapter, ranks } of runs) {
      for (const [b, row] of this.#rows.entries())
        mask.fill(weightOf(row, adapter), b * rank + at, b * rank + at + ranks);
      at += ranks;
    }
    return mask;
  }

  #vectors(kind: 'scale' | 'shift'): Set<string> {
    const names = this.#hooksWith((change) => change[kind] !== null);
    const neutral = kind === 'scale' ? 1 : 0;
    for (const name of names) {
      const changes = this.#adapters.flatMap((adapter) => {
        const values = adapter.hooks.get(name)?.[kind];
        return values ? [{ adapter, values }] : [];
      });
      const width = changes[0].values.length;
      const data = new Float32Array(this.#rows.length * width).fill(neutral);
      for (const [b, row] of this.#rows.entries())
        for (const { adapter, values } of changes) {
          const weight = weightOf(row, adapter);
          if (weight !== 0) for (let i = 0; i < width; i++) data[b * width + i] += weight * (values[i] - neutral);
        }
      this.#put(`${kind}.${name}`, data, [this.#rows.length, 1, width]);
    }
    return names;
  }

  #norms(): Set<string> {
    const names = new Set(this.#adapters.flatMap(({ norms }) => [...norms.keys()]));
    for (const name of names)
      for (const [input, own, base] of [
        ['scale', 'weight', 'baseWeight'],
        ['shift', 'bias', 'baseBias'],
      ] as const) {
        const start = this.#adapters.find(({ norms }) => norms.has(name))!.norms.get(name)![base];
        if (!start) continue;
        const width = start.length;
        const data = new Float32Array(this.#rows.length * width);
        for (const [b, row] of this.#rows.entries()) {
          data.set(start, b * width);
          for (const { adapter, weight } of row) {
            const values = adapter.norms.get(name)?.[own];
            if (values && weight !== 0)
              for (let i = 0; i < width; i++) data[b * width + i] += weight * (values[i] - start[i]);
          }
        }
        this.#put(`${input}.${name}`, data, [this.#rows.length, 1, width]);
      }
    return names;
  }

  /** A row's prefixes lie behind each other; where a row has fewer than others, the rest have gates of 0. */
  #prefixes(): Set<string> {
    const layers = new Set(this.#adapters.flatMap(({ prefixes }) => [...prefixes.keys()]));
    if (layers.size === 0) return new Set();
    const own = this.#rows.map((row) => row.filter(({ adapter, weight }) => adapter.prefixes.size > 0 && weight !== 0));
    const n = Math.max(...own.map(({ length }) => length));
    const P = Math.max(
      ...own.flat().flatMap(({ adapter }) => [...adapter.prefixes.values()].map(({ length }) => length)),
    );
    const B = this.#rows.length;
    const hidden = new Float32Array(B * n * P).fill(HIDDEN);
    for (const l of layers) {
      const { groups: G, heads: H, keySize: D } = attentionWithin(this.#config.layers[l].mixer)!;
      const keys = new Float32Array(B * G * n * P * D);
      const values = new Float32Array(B * G * n * P * D);
      const gates = new Float32Array(B * H * n);
      for (const [b, row] of own.entries())
        for (const [i, { adapter, weight }] of row.entries()) {
          const prefix = adapter.prefixes.get(l);
          if (!prefix) continue;
          hidden.fill(0, (b * n + i) * P, (b * n + i) * P + prefix.length);
          for (let h = 0; h < H; h++) gates[(b * H + h) * n + i] = weight * prefix.gates[h];
          for (let g = 0; g < G; g++) {
            const at = ((b * G + g) * n + i) * P * D;
            const size = prefix.length * D;
            keys.set(prefix.keys.subarray(g * size, (g + 1) * size), at);
            values.set(prefix.values.subarray(g * size, (g + 1) * size), at);
          }
        }
      this.#put(`prefix.k.h.${l}.attn`, keys, [B, G, n * P, D]);
      this.#put(`prefix.v.h.${l}.attn`, values, [B, G, n * P, D]);
      this.#put(`prefix.gate.h.${l}.attn`, gates, [B, H, n]);
    }
    this.#put('prefix.hidden', hidden, [B, n, P]);
    return new Set([...layers].map((l) => `h.${l}.attn`));
  }

  #hooksWith(test: (change: HookChange) => boolean): Set<string> {
    return new Set(
      this.#adapters.flatMap(({ hooks }) => [...hooks].flatMap(([name, change]) => (test(change) ? [name] : []))),
    );
  }
}

/** A row may name an adapter more than once. */
function weightOf(row: RowUse, adapter: LiveAdapter): number {
  return row.reduce((sum, use) => (use.adapter === adapter ? sum + use.weight : sum), 0);
}
