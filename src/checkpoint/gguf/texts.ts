/**
 * @file Many texts out of a file's bytes. A vocabulary has 100,000 of them, and a call of the decoder for each takes
 * longer than all else.
 */

/** Texts in UTF-8 where a file has them, in its order. */
export interface PackedTexts {
  readonly bytes: Uint8Array;
  /** Where each text begins. */
  readonly starts: Uint32Array;
  /** How many bytes it has. */
  readonly lengths: Uint32Array;
}

/** The same texts, without the rest of the file: what refers to them keeps nothing else in memory. */
export function packedAlone({ bytes, starts, lengths }: PackedTexts): PackedTexts {
  if (starts.length === 0) return { bytes: new Uint8Array(0), starts, lengths };
  const [from] = starts;
  const last = starts.length - 1;
  return {
    bytes: bytes.slice(from, starts[last] + lengths[last]),
    starts: starts.map((start) => start - from),
    lengths,
  };
}

/** One of the texts. */
export const textAt = ({ bytes, starts, lengths }: PackedTexts, index: number): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(starts[index], starts[index] + lengths[index]));

/** All texts. What is no UTF-8 becomes U+FFFD. */
export function decodeTexts(texts: PackedTexts): string[] {
  const together = decodeTogether(texts);
  if (together) return together;
  const { bytes, starts, lengths } = texts;
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return Array.from(starts, (start, i) => decoder.decode(bytes.subarray(start, start + lengths[i])));
}

/** The first index of each of `wanted` that is among the texts. */
export function findTexts(
  { bytes, starts, lengths }: PackedTexts,
  wanted: readonly string[],
): ReadonlyMap<string, number> {
  const encoder = new TextEncoder();
  const encoded = wanted.map((text) => encoder.encode(text));
  // Few texts begin as one that is wanted does: the others cost one look.
  const begins = new Uint8Array(256);
  for (const [first] of encoded) if (first !== undefined) begins[first] = 1;
  const found = new Map<string, number>();
  for (let i = 0; i < lengths.length; i++) {
    const start = starts[i];
    const length = lengths[i];
    if (length === 0 || begins[bytes[start]] === 0) continue;
    for (let j = 0; j < encoded.length; j++)
      if (encoded[j].length === length && !found.has(wanted[j]) && isAt(bytes, start, encoded[j]))
        found.set(wanted[j], i);
  }
  return found;
}

function isAt(bytes: Uint8Array, start: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false;
  return true;
}

/** All texts in one piece, which is cut; null: some are no UTF-8. */
function decodeTogether({ bytes, starts, lengths }: PackedTexts): string[] | null {
  let size = 0;
  for (const length of lengths) size += length;
  const joined = new Uint8Array(size);
  // Lengths in UTF-16: a byte that continues a character counts nothing, the first of four counts two.
  const units = new Uint32Array(lengths.length);
  let at = 0;
  for (let i = 0; i < lengths.length; i++) {
    const length = lengths[i];
    const start = starts[i];
    // A character may not reach from one text into the next.
    if (length > 0 && (bytes[start] & 0xc0) === 0x80) return null;
    units[i] = copyText(bytes, start, length, joined, at);
    at += length;
  }
  let whole: string;
  try {
    whole = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true }).decode(joined);
  } catch {
    return null;
  }
  const texts = new Array<string>(units.length);
  let unit = 0;
  for (let i = 0; i < units.length; i++) {
    texts[i] = whole.slice(unit, unit + units[i]);
    unit += units[i];
  }
  return texts;
}

/** Copies a text. @returns its length in UTF-16. */
function copyText(from: Uint8Array, start: number, length: number, to: Uint8Array, at: number): number {
  let count = length;
  for (let i = 0; i < length; i++) {
    const byte = from[start + i];
    to[at + i] = byte;
    if (byte >= 0x80) count += byte >= 0xf0 ? 1 : (byte & 0xc0) === 0x80 ? -1 : 0;
  }
  return count;
}
