/**
 * @file What the model asks of the weights, and where it finds them.
 */
import type { BlockRows } from '../checkpoint/types.ts';
import type { GgmlFormat } from './formats/ggml-formats.ts';

/**
 * How matrices are stored and multiplied: `float32`; `int8` and `int4`, which each engine holds in its own way; or a
 * format of ggml by its name, which not every engine can hold.
 */
export type WeightFormat = 'float32' | 'int8' | 'int4' | GgmlFormat;

/**
 * One parameter of the model's graph, as it must lie in the prepared weights.
 *
 * - `linear`: a matrix `[out, in]`, multiplied as `x · Wᵀ`; may be quantized along `in`.
 * - `embedding`: a matrix `[rows, width]` that rows are gathered from; the same layout as `linear`, so a tied head
 *   shares it.
 * - `plain`: anything else, always float32.
 */
export interface ParamSpec {
  /** LitGPT's name, e.g. `h.0.attn.qkv.weight`. */
  readonly name: string;
  /** `[rows, columns]` of a matrix. */
  readonly shape: readonly number[];
  /** What it is used for. */
  readonly role: 'linear' | 'embedding' | 'plain';
  /** How its matrix is stored; `plain` ones are float32. */
  readonly format: WeightFormat;
  /** Its rows are kept as the checkpoint stores them, in this format, instead of in `format`. */
  readonly stored?: BlockRows['format'];
  /** Its pieces may be stored apart: its products are those of the pieces, side by side. @default false */
  readonly separable?: boolean;
  /**
   * It is only multiplied with, as one matrix, so its blocks may lie in the order that the processor's products read.
   * @default false
   */
  readonly productsOnly?: boolean;
  /** An embedding that is multiplied with, too, as a tied head. @default false */
  readonly isHead?: boolean;
  /** What an error of each column counts, where that is known. */
  readonly importance?: Float32Array;
}

/** A piece of a parameter: rows that the family's tensor map knows by this name. */
export interface ParamPart {
  /** With `.weight` or `.bias`. */
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  /** The checkpoint holds w - 1. */
  readonly unitOffset?: boolean;
  /** In place of rows of its own: the rows of these by turns. */
  readonly interleaved?: readonly ParamPart[];
}

/** A parameter and the pieces that it is put together from, row after row. */
export interface Param extends ParamSpec {
  readonly parts: readonly ParamPart[];
}

/**
 * A tensor of the prepared weights: where its bytes are. A parameter may be stored as several, such as values and
 * scales.
 */
export interface StoredParam {
  readonly name: string;
  /** How its bytes are to be read, in the backend's words: `float32`, `uint8` for packed quants, `q8_0`, … */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** In bytes, from the start of the file; a multiple of 64 in the prepared one, of 32 in a checkpoint's. */
  readonly offset: number;
  readonly length: number;
  /** The path of the file that holds it. @default the prepared one */
  readonly path?: string;
  /**
   * Products with it must not round what it is multiplied with to 8 bits, as products with its blocks do.
   * @default false
   */
  readonly refined?: boolean;
  /**
   * The processor's layout that its bytes are in: products read them where they lie.
   * @default none: blocks row after row
   */
  readonly layout?: string;
}

/** Rows of a matrix that are made on demand: `[rows, cols]` in float32. */
export interface RowSource {
  readonly rows: number;
  readonly cols: number;
  /** Rows `start … start + count`, row-major. */
  read(start: number, count: number): Promise<Float32Array>;
  /** The same rows as ggml's blocks, where the checkpoint stores them so. */
  readonly blocks?: BlockRows;
  /** The same matrix with rows and columns exchanged, where that is how it is stored. */
  readonly transposed?: RowSource;
}

/** The prepared weights of one model and format: one file (or buffer) and the table of what lies where. */
export interface PreparedWeights {
  readonly params: ReadonlyMap<string, StoredParam>;
  /** The prepared file, which is mapped. */
  readonly file: { readonly folder: string; readonly name: string };
  /** Reads a tensor's bytes, where files can't be mapped: in browsers. They belong to the caller. */
  readonly read?: (offset: number, length: number) => Promise<Uint8Array>;
  /** In bytes. */
  readonly size: number;
}
