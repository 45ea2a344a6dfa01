/**
 * @file Unigram: of all ways to cut a text into tokens the most probable one.
 */
import { lazy } from '../util/once.ts';
import { byteTokens } from './bytes.ts';
import { flag, type Json } from './fields.ts';
import type { TokenModel, Vocabulary } from './token-model.ts';

/** How much less probable than the least probable token a character without a token is. */
const UNKNOWN_PENALTY = 10;

export function unigram(model: Json, { idOf, unknown }: Vocabulary): TokenModel {
  const vocab = model['vocab'] as readonly (readonly [string, number])[];
  const scores = vocab.map(([, score]) => score);
  const unknownScore = scores.reduce((low, score) => Math.min(low, score), Number.POSITIVE_INFINITY) - UNKNOWN_PENALTY;
  const fallsBack = flag(model, 'byte_fallback', false);
  const trie = lazy(() => new Trie(vocab));

  const ids = (token: string): readonly number[] => {
    const bytes = fallsBack ? byteTokens(token).map((byte) => idOf.get(byte)) : [];
    return bytes.length > 0 && !bytes.includes(undefined) ? (bytes as number[]) : [unknown(token)];
  };
  return (word) => {
    const { starts, tokens } = bestPath(word, trie(), scores, unknownScore);
    const found: (readonly number[])[] = [];
    for (let end = word.length; end > 0; ) {
      let start = starts[end];
      if (tokens[end] >= 0) found.push([tokens[end]]);
      else {
        // Neighbours without a token are one unknown token.
        while (start > 0 && tokens[start] < 0) start = starts[start];
        found.push(ids(word.slice(start, end)));
      }
      end = start;
    }
    return found.reverse().flat();
  };
}

/** For each end of a token its start and its id; -1 for a character without a token. */
function bestPath(word: string, trie: Trie, scores: readonly number[], unknownScore: number) {
  const best = new Float64Array(word.length + 1).fill(Number.NEGATIVE_INFINITY);
  const starts = new Int32Array(word.length + 1).fill(-1);
  const tokens = new Int32Array(word.length + 1).fill(-1);
  best[0] = 0;
  const offer = (start: number, end: number, score: number, token: number): void => {
    if (starts[end] >= 0 && !(score > best[end])) return;
    best[end] = score;
    starts[end] = start;
    tokens[end] = token;
  };
  for (let start = 0; start < word.length; ) {
    const size = word.codePointAt(start)! > 0xffff ? 2 : 1;
    let hasSingle = false;
    for (let at = start, node = 0; at < word.length; ) {
      node = trie.next(node, word.charCodeAt(at++));
      if (node < 0) break;
      const id = trie.tokens[node];
      if (id < 0) continue;
      offer(start, at, best[start] + scores[id], id);
      hasSingle ||= at - start === size;
    }
    if (!hasSingle) offer(start, start + size, best[start] + unknownScore, -1);
    start += size;
  }
  return { starts, tokens };
}

/** Texts by their characters. */
class Trie {
  /** The token that ends at a node, or -1. */
  readonly tokens: number[] = [-1];
  readonly #children = new Map<number, number>();

  constructor(vocab: readonly (readonly [string, number])[]) {
    for (const [id, [token]] of vocab.entries()) {
      let node = 0;
      for (let i = 0; i < token.length; i++) {
        const key = node * 65536 + token.charCodeAt(i);
        let child = this.#children.get(key);
        if (child === undefined) {
          child = this.tokens.push(-1) - 1;
          this.#children.set(key, child);
        }
        node = child;
      }
      if (node > 0) this.tokens[node] = id;
    }
  }

  next(node: number, unit: number): number {
    return this.#children.get(node * 65536 + unit) ?? -1;
  }
}
