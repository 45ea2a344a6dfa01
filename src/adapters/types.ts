/**
 * @file What an adapter changes, in the model's own terms, whichever library wrote it.
 */
import type { RowSource } from '../weights/types.ts';

/** A matrix in memory, row after row. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float32Array;
}

/** A matrix of low rank as a product. */
export interface LowRank {
  /** [rank, in]. The parts of one fused module share one object. */
  readonly a: Matrix;
  /** [out, rank], scaled. */
  readonly b: Matrix;
}

/**
 * What an adapter makes of some rows W of a matrix and of their bias b (0 where the base has none):
 * W' = f ⊙ ((weight or W) + lowRank) and b' = scale ⊙ ((bias or b) + shift), where f is `scale`, or DoRA's magnitude
 * / |row|.
 */
export interface PartChange {
  readonly lowRank?: LowRank;
  /** DoRA (arXiv 2402.09353): the lengths that the rows are to have; for the embedding, its columns. */
  readonly magnitude?: Float32Array;
  /** Adapter v2 (arXiv 2304.15010): what each row is multiplied with. */
  readonly scale?: Float32Array;
  /** Added to the bias. */
  readonly shift?: Float32Array;
  /** In place of the base's rows. */
  readonly weight?: RowSource;
  /** In place of the base's bias. */
  readonly bias?: RowSource;
}

/** LLaMA-Adapter (arXiv 2303.16199): learned tokens that a layer's queries also attend to. */
export interface PrefixChange {
  /** [P, E]: they go through the layer's own matrix of keys and values. */
  readonly embeddings: Matrix;
  /** [H] */
  readonly gates: Float32Array;
}

/** An adapter that was read, and belongs to the base. */
export interface Adapter {
  /** Path or file, for messages. */
  readonly name: string;
  /** Says which bytes these are (path, size, time, settings, header). */
  readonly identity: string;
  /** By part of a matrix: `h.0.attn.q`, `lm_head`, `wte`. */
  readonly parts: ReadonlyMap<string, PartChange>;
  /** Vectors that are replaced, such as `h.0.norm_1.weight`. */
  readonly vectors: ReadonlyMap<string, RowSource>;
  /** By layer. */
  readonly prefixes: ReadonlyMap<number, PrefixChange>;
  /** Closes its files; what it holds in memory stays. */
  close(): Promise<void>;
}

/** An adapter and how much it counts: 0 leaves the base as it is, 1 is what was trained. */
export interface WeightedAdapter {
  readonly adapter: Adapter;
  readonly weight: number;
}
