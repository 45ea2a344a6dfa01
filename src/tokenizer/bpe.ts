/**
 * @file Byte-pair encoding: neighbours are merged, the pair that was learned first before others.
 */
import { show } from '../util/json/show.ts';
import { lazy } from '../util/once.ts';
import { byteTokens } from './bytes.ts';
import { fail, flag, type Json } from './fields.ts';
import type { ReadMerges, TokenIds, TokenModel, Vocabulary } from './token-model.ts';

/** How many words are remembered with their ids, and up to which length. */
const CACHE_SIZE = 50_000;
const CACHED_LENGTH = 64;

/**
 * Numbers of a slot: the left id and one more (0: the slot is free), the right id, how early the merge was learned, the
 * id that it gives.
 */
const SLOT = 4;

/**
 * Merges by their pair of ids: a table with open addressing, since a Map of half a million pairs takes seconds to fill.
 * A slot's numbers lie side by side, as each slot that is looked at is far from the last one.
 */
class MergeTable {
  readonly #mask: number;
  readonly #slots: Int32Array;

  constructor(count: number) {
    const size = 2 ** Math.ceil(Math.log2(2 * count + 2));
    this.#mask = size - 1;
    this.#slots = new Int32Array(SLOT * size);
  }

  /** Where the numbers of a pair's slot are, or would be. */
  #find(left: number, right: number): number {
    const slots = this.#slots;
    let slot = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    slot = (slot ^ (slot >>> 15)) & this.#mask;
    while (slots[SLOT * slot] !== 0 && (slots[SLOT * slot] !== left + 1 || slots[SLOT * slot + 1] !== right))
      slot = (slot + 1) & this.#mask;
    return SLOT * slot;
  }

  set(left: number, right: number, rank: number, id: number): void {
    const at = this.#find(left, right);
    this.#slots[at] = left + 1;
    this.#slots[at + 1] = right;
    this.#slots[at + 2] = rank;
    this.#slots[at + 3] = id;
  }

  /** The merge of a pair; -1 where there is none. */
  find(left: number, right: number): number {
    const at = this.#find(left, right);
    return this.#slots[at] === 0 ? -1 : at;
  }

  rankOf(merge: number): number {
    return this.#slots[merge + 2];
  }

  idOf(merge: number): number {
    return this.#slots[merge + 3];
  }
}

export function bpe(model: Json, vocabulary: Vocabulary): TokenModel {
  const { idOf, unknown } = vocabulary;
  const prefix = typeof model['continuing_subword_prefix'] === 'string' ? model['continuing_subword_prefix'] : '';
  const suffix = typeof model['end_of_word_suffix'] === 'string' ? model['end_of_word_suffix'] : '';
  const fusesUnknown = flag(model, 'fuse_unk', false);
  const fallsBack = flag(model, 'byte_fallback', false);
  const ignoresMerges = flag(model, 'ignore_merges', false);
  const merges = mergesOf(model['merges'] as readonly unknown[] | ReadMerges, idOf, prefix);
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
    if (whole !== undefined) return [whole];
    return mergeAll(first(word), merges());
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

/** Merges in words are checked at once. Those that were read as ids become a table with the first word. */
function mergesOf(stated: readonly unknown[] | ReadMerges, idOf: TokenIds, prefix: string): () => MergeTable {
  if ('ids' in stated) {
    const { ids } = stated;
    return lazy(() => tableOf(ids));
  }
  const table = readMerges(stated, idOf, prefix);
  return () => table;
}

function tableOf(ids: Int32Array): MergeTable {
  const table = new MergeTable(ids.length / 3);
  for (let rank = 0; 3 * rank < ids.length; rank++)
    table.set(ids[3 * rank], ids[3 * rank + 1], rank, ids[3 * rank + 2]);
  return table;
}

/**
 * With a prefix, a merge of tokens that there are not is left out.
 * @throws TokenizerError without one.
 */
function readMerges(merges: readonly unknown[], idOf: TokenIds, prefix: string): MergeTable {
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
      if (slot >= 0 && (best < 0 || merges.rankOf(slot) < merges.rankOf(best))) {
        best = slot;
        at = i;
      }
    }
    if (best < 0) return ids;
    ids.splice(at, 2, merges.idOf(best));
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
    if (slot >= 0) heap.push(merges.rankOf(slot) * size + i);
  };
  for (let i = 0; i < size; i++) offer(i);
  for (let item = heap.pop(); item !== undefined; item = heap.pop()) {
    const i = item % size;
    const slot = isGone[i] ? -1 : mergeAt(i);
    // The pair may have changed since it was offered.
    if (slot < 0 || merges.rankOf(slot) !== Math.floor(item / size)) continue;
    const right = next[i];
    ids[i] = merges.idOf(slot);
    isGone[right] = 1;
    next[i] = next[right];
    if (next[i] >= 0) before[next[i]] = i;
    offer(before[i]);
    offer(i);
  }
  return ids.filter((_, i) => !isGone[i]);
}
