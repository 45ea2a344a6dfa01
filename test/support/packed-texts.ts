/**
 * @file Texts in UTF-8 as a GGUF file has them, with other bytes between.
 */
import type { PackedTexts } from '../../src/checkpoint/gguf/texts.ts';

const GAP = 8;

export function packedTexts(texts: readonly (string | Uint8Array)[]): PackedTexts {
  const all = texts.map((text) => (typeof text === 'string' ? new TextEncoder().encode(text) : text));
  const bytes = new Uint8Array(all.reduce((sum, { length }) => sum + GAP + length, 0));
  const starts = new Uint32Array(all.length);
  let at = 0;
  for (const [i, text] of all.entries()) {
    starts[i] = at + GAP;
    bytes.set(text, at + GAP);
    at += GAP + text.length;
  }
  return { bytes, starts, lengths: Uint32Array.from(all, ({ length }) => length) };
}
