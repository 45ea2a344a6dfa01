/**
 * @file Tokens and merges by their bytes. A vocabulary has 100,000 of each, and a text made for each takes longer than
 * all else of an opening.
 */
import { TokenizerError } from '../../../util/errors.ts';
import { show } from '../../../util/json/show.ts';
import { decodeTexts, type PackedTexts, textAt } from '../texts.ts';

const SPACE = 0x20;
/** FNV-1a. The hash of two texts behind each other goes on from that of the first. */
const HASH_START = 0x811c9dc5 | 0;
const HASH_FACTOR = 0x01000193;
/** After so many tokens one by one all are decoded. */
const SINGLE_TEXTS = 1000;

/** Ids of tokens by their bytes: a table with open addressing. Of two tokens of the same bytes the first counts. */
export class PackedVocabulary {
  readonly #tokens: PackedTexts;
  readonly #isLeftOut: (id: number) => boolean;
  readonly #mask: number;
  /** Of each slot one more than the id, 0 where the slot is free, and the hash. */
  readonly #slots: Int32Array;
  /** Whether each token is found by its bytes. */
  readonly #isComplete: boolean;
  /** Tokens that were asked for, by id. */
  #texts: (string | undefined)[] = [];
  #single = 0;

  /** @param isLeftOut tokens that no text is made of. */
  constructor(tokens: PackedTexts, isLeftOut: (id: number) => boolean) {
    const { bytes, starts, lengths } = tokens;
    const size = 2 ** Math.ceil(Math.log2(2 * lengths.length + 2));
    const mask = size - 1;
    const slots = new Int32Array(2 * size);
    this.#tokens = tokens;
    this.#isLeftOut = isLeftOut;
    this.#mask = mask;
    this.#slots = slots;
    let found = 0;
    // One loop without calls is compiled while it runs.
    for (let id = 0; id < lengths.length; id++) {
      if (isLeftOut(id)) continue;
      const start = starts[id];
      const end = start + lengths[id];
      let hash = HASH_START;
      for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i], HASH_FACTOR);
      let slot = (hash ^ (hash >>> 15)) & mask;
      while (slots[2 * slot] !== 0) {
        if (slots[2 * slot + 1] === hash && this.#isToken(slots[2 * slot] - 1, bytes, start, end, end, end)) break;
        slot = (slot + 1) & mask;
      }
      if (slots[2 * slot] !== 0) continue;
      slots[2 * slot] = id + 1;
      slots[2 * slot + 1] = hash;
      found++;
    }
    this.#isComplete = found === lengths.length;
  }

  /** The highest id. */
  get maxId(): number {
    return this.#tokens.lengths.length - 1;
  }

  get(token: string): number | undefined {
    const bytes = new TextEncoder().encode(token);
    let hash = HASH_START;
    for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i], HASH_FACTOR);
    const id = this.#find(hash, bytes, 0, bytes.length, 0, 0);
    return id < 0 ? undefined : id;
  }

  has(token: string): boolean {
    return this.get(token) !== undefined;
  }

  /** The token of an id; undefined where there is none. */
  tokenOf(id: number): string | undefined {
    if (this.#single > SINGLE_TEXTS) return this.#isLeftOut(id) ? undefined : this.#texts[id];
    const known = this.#texts[id];
    if (known !== undefined || id > this.maxId || this.#isLeftOut(id)) return known;
    this.#single++;
    const text = textAt(this.#tokens, id);
    if (this.#single > SINGLE_TEXTS) this.#texts = decodeTexts(this.#tokens);
    else this.#texts[id] = text;
    return text;
  }

  /**
   * Three ids for each merge: the left token, the right one, and the token that they become.
   * @param merges two tokens each, with a space between.
   * @throws TokenizerError for a merge that needs a token that there is not.
   */
  readMerges(merges: PackedTexts): Int32Array {
    const { bytes, starts, lengths } = merges;
    const out = new Int32Array(3 * lengths.length);
    let next = 0;
    for (let rank = 0; rank < lengths.length; rank++) {
      const start = starts[rank];
      const end = start + lengths[rank];
      let left = HASH_START;
      let space = start;
      // The first letter may be a space that is a token itself.
      while (space < end && (space === start || bytes[space] !== SPACE))
        left = Math.imul(left ^ bytes[space++], HASH_FACTOR);
      let right = HASH_START;
      for (let i = space + 1; i < end; i++) right = Math.imul(right ^ bytes[i], HASH_FACTOR);
      const a = this.#find(left, bytes, start, space, 0, 0);
      const b = this.#find(right, bytes, space + 1, end, 0, 0);
      // Most tokens stand in the order of the merges that they are made by.
      const isNext = this.#isComplete && this.#isToken(next, bytes, start, space, space + 1, end);
      const joined = isNext ? next : this.#findJoined(left, bytes, start, space, end);
      next = joined + 1;
      if (a < 0 || b < 0 || joined < 0)
        throw new TokenizerError(
          `the GGUF file's merge ${rank}, ${quote(merges, rank)}, needs a token that the file does not have`,
        );
      out[3 * rank] = a;
      out[3 * rank + 1] = b;
      out[3 * rank + 2] = joined;
    }
    return out;
  }

  /** Tokens with their ids, as tokenizer.json has them. */
  toJSON(): Record<string, number> {
    const texts = decodeTexts(this.#tokens);
    return Object.fromEntries(
      texts.map((text, id) => [text, id] as const).filter(([text, id]) => this.get(text) === id),
    );
  }

  /** The id of the token of two tokens with a space between. @param hash of the first. */
  #findJoined(hash: number, bytes: Uint8Array, start: number, space: number, end: number): number {
    let both = hash;
    for (let i = space + 1; i < end; i++) both = Math.imul(both ^ bytes[i], HASH_FACTOR);
    return this.#find(both, bytes, start, space, space + 1, end);
  }

  /** The id of the token of bytes `a … b` and `c … d` behind each other; -1 where there is none. */
  #find(hash: number, bytes: Uint8Array, a: number, b: number, c: number, d: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (slots[2 * slot] !== 0) {
      if (slots[2 * slot + 1] === hash && this.#isToken(slots[2 * slot] - 1, bytes, a, b, c, d)) break;
      slot = (slot + 1) & mask;
    }
    return slots[2 * slot] - 1;
  }

  /** Whether a token has these bytes. */
  #isToken(id: number, bytes: Uint8Array, a: number, b: number, c: number, d: number): boolean {
    const { bytes: own, starts, lengths } = this.#tokens;
    if (lengths[id] !== b - a + (d - c)) return false;
    let at = starts[id];
    for (let i = a; i < b; i++) if (own[at++] !== bytes[i]) return false;
    for (let i = c; i < d; i++) if (own[at++] !== bytes[i]) return false;
    return true;
  }
}

/** Merges as ids and, where they are written, as texts. */
export class PackedMerges {
  readonly #vocabulary: PackedVocabulary;
  readonly #texts: PackedTexts;

  /** @throws TokenizerError for a merge that is not two tokens. */
  constructor(vocabulary: PackedVocabulary, texts: PackedTexts) {
    this.#vocabulary = vocabulary;
    this.#texts = texts;
    const { bytes, starts, lengths } = texts;
    for (let rank = 0; rank < lengths.length; rank++) {
      const end = starts[rank] + lengths[rank];
      let space = starts[rank] + 1;
      while (space < end && bytes[space] !== SPACE) space++;
      if (space >= end - 1) throw new TokenizerError(`the GGUF file's merge ${quote(texts, rank)} is not two tokens`);
    }
  }

  /**
   * See {@link PackedVocabulary.readMerges}. They are read when they are asked for, since that takes a sixth of opening
   * a small model.
   * @throws TokenizerError for a merge that needs a token that there is not.
   */
  get ids(): Int32Array {
    return this.#vocabulary.readMerges(this.#texts);
  }

  /** As tokenizer.json has merges: texts, or pairs where a token holds a space. */
  toJSON(): (string | [string, string])[] {
    const merges = decodeTexts(this.#texts);
    return merges.every(isPlain) ? merges : merges.map(splitMerge);
  }
}

/** "a b" → ["a", "b"]. The first letter may be a space that is a token itself. */
export function splitMerge(merge: string): [string, string] {
  const at = merge.indexOf(' ', 1);
  if (at < 0) throw new TokenizerError(`the GGUF file's merge ${show(merge)} is not two tokens`);
  return [merge.slice(0, at), merge.slice(at + 1)];
}

/** Whether a merge is two tokens with the only space between them. */
function isPlain(merge: string): boolean {
  const at = merge.indexOf(' ');
  return at > 0 && !merge.includes(' ', at + 1);
}

const quote = (texts: PackedTexts, index: number): string => show(textAt(texts, index));
