/**
 * @file Inputs of the echo: the chunk's positions if it were read once more, right behind itself.
 */
import { type StepTensor, tensorOf } from '../backends/types.ts';
import { partOf } from '../kvcache/chunk.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { range } from '../util/numbers.ts';
import type { RopeTable } from './rope.ts';

/** See {@link BoundCache.echoed}, which is made of it once for a cache. */
export function echoedGroups({ rules, store }: KVCache): ReadonlySet<string> | null {
  if (!rules.needs.includes('echo')) return null;
  const names = [...store.tables].flatMap(([name, { ragged, layers, groups }]) => {
    const isWanted = (group: number) => (rules.needsOf?.(layers[0], group) ?? rules.needs).includes('echo');
    const wanted = range(groups).filter(isWanted);
    if (ragged) return wanted.map((group) => partOf(name, group));
    return wanted.length > 0 ? [name] : [];
  });
  return names.length > 0 ? new Set(names) : null;
}

/** What the positions of a chunk are made of. */
export interface EchoedChunk {
  readonly tokens: readonly ArrayLike<number>[];
  /** Of the longest row. */
  readonly length: number;
  /** Whether the chunk may be cut later: it has no echo then. */
  readonly each: boolean;
  /** Per row and token, where the caller gave positions. */
  readonly given: readonly (readonly number[][])[] | null;
  /** The length that a row's keys are rotated for. */
  readonly total: (row: number) => number;
}

/** The inputs of a chunk of one size, filled anew for each step. */
export class EchoScratch {
  readonly #ropes: readonly RopeTable[];
  #size = '';
  #positions = new Float32Array(0);
  #mask = new Float32Array(0);
  #cos: readonly Float32Array[] = [];
  #sin: readonly Float32Array[] = [];
  #tensors: Readonly<Record<string, StepTensor>> = {};

  constructor(ropes: readonly RopeTable[]) {
    this.#ropes = ropes;
  }

  /** Adds the inputs of a step to `inputs`, which has those of its positions. @returns E: 0 where no row has an echo. */
  bind(cache: KVCache, chunk: EchoedChunk, inputs: Record<string, StepTensor>): 0 | 1 {
    const { tokens, length, each } = chunk;
    if (each || tokens.every((row) => row.length < 2)) {
      // Nothing reads them.
      inputs['echo.positions'] = inputs['positions'];
      inputs['echo.mask'] = tensorOf(new Float32Array(0), [tokens.length, 0, length]);
      for (const i of this.#ropes.keys())
        for (const part of ['cos', 'sin']) inputs[`echo.${part}.${i}`] = inputs[`${part}.${i}`];
      return 0;
    }
    this.#resize(tokens.length, length);
    for (let row = 0; row < tokens.length; row++) this.#fillRow(cache, chunk, row);
    Object.assign(inputs, this.#tensors);
    return 1;
  }

  #fillRow(cache: KVCache, { tokens, length, given, total }: EchoedChunk, row: number): void {
    const count = tokens[row].length;
    const [first, ropePosition, sequence] = [cache.length(row), cache.ropePosition(row), total(row)];
    for (let t = 0; t < length; t++) {
      const at = row * length + t;
      this.#positions[at] = first + t + count;
      this.#mask[at] = Number(count > 1 && t < count);
      const ropePositions = given?.[row][t]?.map((position) => position + count) ?? ropePosition + t + count;
      for (const [i, rope] of this.#ropes.entries())
        rope.write(this.#cos[i], this.#sin[i], at * rope.pairs, ropePositions, sequence);
    }
  }

  #resize(batch: number, length: number): void {
    const size = `${batch}x${length}`;
    if (this.#size === size) return;
    const n = batch * length;
    this.#size = size;
    this.#positions = new Float32Array(n);
    this.#mask = new Float32Array(n);
    this.#cos = this.#ropes.map(({ pairs }) => new Float32Array(n * pairs));
    this.#sin = this.#ropes.map(({ pairs }) => new Float32Array(n * pairs));
    const tensors: Record<string, StepTensor> = {
      'echo.positions': tensorOf(this.#positions, [batch, length]),
      'echo.mask': tensorOf(this.#mask, [batch, 1, length]),
    };
    for (const [i, { pairs }] of this.#ropes.entries()) {
      tensors[`echo.cos.${i}`] = tensorOf(this.#cos[i], [n, pairs]);
      tensors[`echo.sin.${i}`] = tensorOf(this.#sin[i], [n, pairs]);
    }
    this.#tensors = tensors;
  }
}
