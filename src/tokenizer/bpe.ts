/**
 * @file Byte-pair encoding: neighbours are merged, the pair that was learned first before others.
 */
import { show } from '../util/show.ts';
import { byteTokens } from './bytes.ts';
import { fail, flag, type Json } from './fields.ts';
import type { TokenModel, Vocabulary } from './token-model.ts';

/** How many words are remembered with their ids, and up to which length. */
const CACHE_SIZE = 50_000;
const CACHED_LENGTH = 64;

/** Merges by their pair of ids: a table with open addressing, since a Map of half a million pairs takes seconds to fill. */
class MergeTable {
  readonly #mask: number;
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  /** By slot: how early a merge was learned, and the id that it gives. */
  readonly rank: Int32Array;
  readonly id: Int32Array;

  constructor(count: number) {
    const size = 2 ** Math.ceil(Math.log2(2 * count + 2));
    this.#mask = size - 1;
    this.#left = new Int32Array(size).fill(-1);
    this.#right = new Int32Array(size);
    this.rank = new Int32Array(size);
    this.id = new Int32Array(size);
  }

  #slot(left: number, right: number): number {
    let slot = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    slot = (slot ^ (slot >>> 15)) & this.#mask;
    while (this.#left[slot] !== -1 && (this.#left[slot] !== left || this.#right[slot] !== right))
      slot = (slot + 1) & this.#mask;
    return slot;
  }

  set(left: number, right: number, rank: number, id: number): void {
    const slot = this.#slot(left, right);
    this.#left[slot] = left;
    this.#right[slot] = right;
    this.rank[slot] = rank;
    this.id[slot] = id;
  }

  /** The slot of a pair's merge; -1 where there is none. */
  find(left: number, right: number): number {
    const slot = this.#slot(left, right);
    return this.#left[slot] === -1 ? -1 : slot;
  }
}

export function bpe(model: Json, vocabulary: Vocabulary): TokenModel {
  const { idOf, unknown } = vocabulary;
  const prefix = typeof model['continuing_subword_prefix'] === 'string' ? model['continuing_subword_prefix'] : '';
  const suffix = typeof model['end_of_word_suffix'] === 'string' ? model['end_of_word_suffix'] : '';
  const fusesUnknown = flag(model, 'fuse_unk', false);
  const fallsBack = flag(model, 'byte_fallback', false);
  const ignoresMerges = flag(model, 'ignore_merges', false);
  const merges = readMerges(model['merges'] as readonly unknown[], idOf, prefix);
  const known = new Map<string, readonly number[]>();

  const first = (word: string): number[] => {
    const ids: number[] = [];
    const chars = Array.from(word);
    let wasUnknown = false;
    chars.forEach((char, i) => {
      const token = (i > 0 ? prefix : '') + char + (i === chars.length - 1 ? suffix : '');
      const id = idOf.get(token);
      const bytes = id === undefined && fallsBack ? byteTokens(token).map((byte) => idOf.get(byte)) : [];
      const isUnknown = id === undefined && (bytes.length === 0 || bytes.includes(undefined));
      if (id !== undefined) ids.push(id);
      else if (!isUnknown) ids.push(...(bytes as number[]));
      else if (!(wasUnknown && fusesUnknown)) ids.push(unknown(token));
      wasUnknown = isUnknown;
    });
    return ids;
  };
  const encode = (word: string): readonly number[] => {
    const whole = ignoresMerges ? idOf.get(word) : undefined;
    return whole === undefined ? mergeAll(first(word), merges) : [whole];
  };
  return (word) => {
    if (word.length > CACHED_LENGTH) return encode(word);
    let ids = known.get(word);
    if (!ids) {
      ids = encode(word);
      if (known.size >= CACHE_SIZE) known.clear();
      known.set(word, ids);
    }
    return ids;
  };
}

/**
 * With a prefix, a merge of tokens that there are not is left out.
 * @throws TokenizerError without one.
 */
function readMerges(merges: readonly unknown[], idOf: ReadonlyMap<string, number>, prefix: string): MergeTable {
  const table = new MergeTable(merges.length);
  merges.forEach((merge, rank) => {
    const at = typeof merge === 'string' ? merge.indexOf(' ') : 0;
    const left = typeof merge === 'string' ? merge.slice(0, at) : (merge as readonly string[])[0];
    const right = typeof merge === 'string' ? merge.slice(at + 1) : (merge as readonly string[])[1];
    const joined = idOf.get(left + (prefix !== '' && right.startsWith(prefix) ? right.slice(prefix.length) : right));
    const a = idOf.get(left);
    const b = idOf.get(right);
    if (a !== undefined && b !== undefined && joined !== undefined) table.set(a, b, rank, joined);
    else if (prefix === '') {
      const missing = [left, right, left + right].find((token) => !idOf.has(token));
      fail(`model.merges[${rank}] needs the token ${show(missing)}, which is not in model.vocab`);
    }
  });
  return table;
}

/** Short words go by the best pair of all; long ones by a heap, for that takes quadratic time. */
function mergeAll(ids: number[], merges: MergeTable): readonly number[] {
  if (ids.length > 48) return mergeByHeap(ids, merges);
  for (;;) {
    let best = -1;
    let at = -1;
    for (let i = 0; i + 1 < ids.length; i++) {
      const slot = merges.find(ids[i], ids[i + 1]);
      if (slot >= 0 && (best < 0 || merges.rank[slot] < merges.rank[best])) {
        best = slot;
        at = i;
      }
    }
    if (best < 0) return ids;
    ids.splice(at, 2, merges.id[best]);
  }
}

/** A heap of numbers that are pairs of rank and position, so that equal ranks go from left to right. */
class Heap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (items[parent] <= item) break;
      items[at] = items[parent];
      at = parent;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1] < items[child]) child++;
      if (items[child] >= last) break;
      items[at] = items[child];
      at = child;
    }
    items[at] = last;
    return top;
  }
}

function mergeByHeap(ids: number[], merges: MergeTable): number[] {
  const size = ids.length;
  const next = Int32Array.from(ids, (_, i) => (i + 1 < size ? i + 1 : -1));
  const before = Int32Array.from(ids, (_, i) => i - 1);
  const isGone = new Uint8Array(size);
  const heap = new Heap();
  const mergeAt = (i: number) => (next[i] < 0 ? -1 : merges.find(ids[i], ids[next[i]]));
  const offer = (i: number): void => {
    const slot = i < 0 ? -1 : mergeAt(i);
    if (slot >= 0) heap.push(merges.rank[slot] * size + i);
  };
  for (let i = 0; i < size; i++) offer(i);
  for (let item = heap.pop(); item !== undefined; item = heap.pop()) {
    const i = item % size;
    const slot = isGone[i] ? -1 : mergeAt(i);
    // The pair may have changed since it was offered.
    if (slot < 0 || merges.rank[slot] !== Math.floor(item / size)) continue;
    const right = next[i];
    ids[i] = merges.id[slot];
    isGone[right] = 1;
    next[i] = next[right];
    if (next[i] >= 0) before[next[i]] = i;
    offer(before[i]);
    offer(i);
  }
  return ids.filter((_, i) => !isGone[i]);
}
