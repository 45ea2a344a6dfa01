/**
 * @file How the vectors of one half of a layer's slots (its keys, or its values) are stored: what a storage format
 * implements.
 */
import type { SlotArray, SlotData } from './slot-array.ts';

/** An array of a codec, as an engine reads it [batch, groups, capacity, width]. */
export interface CodecArray {
  /** Follows `k` or `v` in the input's name: empty, or `.scale`. */
  readonly suffix: string;
  readonly array: SlotArray<SlotData>;
}

/** The sizes that a codec is made for. */
export interface CodecShape {
  readonly batch: number;
  readonly groups: number;
  /** Numbers of a vector. */
  readonly size: number;
  /** The feedback that vectors of a group are rounded with, in 4 and 5 bits. @default none */
  readonly feedbackOf?: (group: number) => Float32Array | null | undefined;
}

/** Formats of ggml whose scales are in blocks, by their names there. */
export type BlockFormat = 'q8_0' | 'q5_0' | 'q4_0';

/** Makes a codec of blocks. It is an engine that has it: others have no use for its code. */
export type BlockCodecs = (shape: CodecShape, format: BlockFormat) => SlotCodec;

/** One storage format of vectors. */
export interface SlotCodec {
  /** Numbers of a vector. */
  readonly size: number;
  readonly groups: number;
  /** Most of the format's arrays are one; formats with scales apart have two. */
  readonly arrays: readonly CodecArray[];
  /** Stores `count` vectors, which lie at `from` behind each other, in consecutive slots. */
  write(row: number, group: number, slot: number, count: number, source: Float32Array, from: number): void;
  /** The vector that a slot holds, as attention sees it, into `out` from index `to` (0 by default) on. */
  read(row: number, group: number, slot: number, out: Float32Array, to?: number): void;
  /** What a group's vector at `from` will be once it is stored and read again. */
  preview(group: number, source: Float32Array, from: number, out: Float32Array, to?: number): void;
  /** Where vectors are stored rotated: what stores the rotated ones. Its vectors have the same lengths and products. */
  readonly rotated?: SlotCodec;
  /** An empty codec of the same format and sizes. */
  create(): SlotCodec;
}
