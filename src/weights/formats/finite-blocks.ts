/**
 * @file Whether blocks stand for finite numbers, told by their scales alone: some 30 times as fast as taking the blocks
 * apart.
 */
import type { BlockRows } from '../../checkpoint/types.ts';

/** Bytes of a block, and where its scale is (and its minimum): all that can be infinite, or no number. */
const SCALES: Readonly<Partial<Record<BlockRows['format'], readonly [bytes: number, ...offsets: number[]]>>> = {
  q4_0: [18, 0],
  q4_1: [20, 0, 2],
  q5_0: [22, 0],
  q5_1: [24, 0, 2],
  q8_0: [34, 0],
  iq4_nl: [18, 0],
  q4_k: [144, 0, 2],
  q5_k: [176, 0, 2],
  q6_k: [210, 208],
};

/** All exponent bits of a half: infinity, or not a number. */
const EXPONENT = 0x7c;

/** False also where the format's scales are not known. */
export function areScalesFinite(format: BlockRows['format'], bytes: Uint8Array): boolean {
  const [size, ...offsets] = SCALES[format] ?? [];
  if (size === undefined) return false;
  for (const offset of offsets)
    for (let at = offset + 1; at < bytes.length; at += size) if ((bytes[at] & EXPONENT) === EXPONENT) return false;
  return true;
}
