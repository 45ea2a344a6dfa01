/**
 * @file SentencePiece's own normalization: a table of texts and what they become, as a double-array trie.
 */
import { fromBase64 } from '../util/base64.ts';
import { fail } from './fields.ts';

/** Longer graphemes are looked at character by character, as in Hugging Face's library. */
const MAX_GRAPHEME_BYTES = 6;

const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const label = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offset = (unit: number): number => ((unit >>> 10) << ((unit & 512) >>> 6)) >>> 0;

/** @param charsmap the table in base64: the trie's size, the trie, texts that end with a zero byte. */
export function precompiled(charsmap: string): (text: string) => string {
  const bytes = decodeBase64(charsmap);
  const view = new DataView(bytes.buffer);
  const size = bytes.length >= 4 ? view.getUint32(0, true) : 1;
  if (size % 4 !== 0 || size + 4 > bytes.length) fail('"precompiled_charsmap" of a Precompiled is damaged');
  const trie = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const texts = bytes.subarray(4 + size);
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
  const known = new Map<string, string | null>();

  const search = (key: string): string | null => {
    let node = offset(trie[0]);
    for (const byte of encoder.encode(key)) {
      if (byte === 0) return null;
      node ^= byte;
      const unit = trie[node] ?? 0;
      if (label(unit) !== byte) return null;
      node ^= offset(unit);
      if (!hasLeaf(unit)) continue;
      const start = (trie[node] ?? 0) & 0x7fffffff;
      const end = texts.indexOf(0, start);
      return decoder.decode(texts.subarray(start, end < 0 ? texts.length : end));
    }
    return null;
  };
  /** What a text becomes; null where it stays. */
  const transform = (key: string): string | null => {
    let found = known.get(key);
    if (found === undefined) {
      found = search(key);
      if (known.size < 100_000) known.set(key, found);
    }
    return found;
  };
  const grapheme = (text: string): string => {
    const whole = encoder.encode(text).length < MAX_GRAPHEME_BYTES ? transform(text) : null;
    return whole ?? Array.from(text, (char) => transform(char) ?? char).join('');
  };
  return (text) => {
    let out = '';
    for (const { segment } of segmenter.segment(text)) out += grapheme(segment);
    return out;
  };
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  try {
    return fromBase64(text);
  } catch {
    return fail('"precompiled_charsmap" of a Precompiled is no base64');
  }
}
