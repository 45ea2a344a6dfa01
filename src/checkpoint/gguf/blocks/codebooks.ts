/**
 * @file The codebooks of the IQ formats, unpacked at first use.
 */
import { fromBase64 } from '../../../util/base64.ts';
import { PACKED_CODEBOOKS, type PackedCodebook } from './codebooks-data.ts';

type Codebook = keyof typeof PACKED_CODEBOOKS;

const unpacked = new Map<Codebook, Int8Array>();

/** The entries of a book behind each other. */
export function codebook(name: Codebook): Int8Array {
  const known = unpacked.get(name);
  if (known) return known;
  const { bits, values, data }: PackedCodebook = PACKED_CODEBOOKS[name];
  const packed = fromBase64(data);
  const each = 8 / bits;
  const mask = (1 << bits) - 1;
  const entries = Int8Array.from({ length: packed.length * each }, (_, i) => {
    return values[(packed[Math.floor(i / each)] >> (bits * (i % each))) & mask];
  });
  unpacked.set(name, entries);
  return entries;
}

/** Eight signs out of seven bits: the eighth makes the number of minus signs even. */
export const SIGN_PATTERNS: Uint8Array = Uint8Array.from({ length: 128 }, (_, bits) => {
  let odd = 0;
  for (let rest = bits; rest > 0; rest >>= 1) odd ^= rest & 1;
  return bits | (odd << 7);
});
