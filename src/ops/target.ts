/**
 * @file What an engine chooses while a model is traced for it: how matrices are stored.
 */
import type { MoeMlp } from '../config/mlp-spec.ts';
import type { BlockCodecs } from '../kvcache/buffers/slot-codec.ts';
import type { BufferChoice } from '../kvcache/buffers.ts';
import type { MatrixInfo } from '../weights/formats/ggml-formats.ts';
import type { WeightFormat } from '../weights/types.ts';

/**
 * How the experts of a mixture are laid out: all in one matrix with rows of gate and up by turns, in one matrix for
 * each of gate, up and down, or each expert in matrices of its own.
 */
export type ExpertLayout = 'interleaved' | 'separate' | 'apart';

export interface GraphTarget {
  /**
   * Whether matrices in 8 bits have one scale for each row (weights/formats/byte-rows.ts), not for blocks of 32. @default false
   */
  readonly byteRows?: boolean;
  /** Up to so many parameters `auto` is float32. @default 100e6 */
  readonly float32Parameters?: number;
  /** Above that and up to so many, `auto` is f16. @default 0 */
  readonly halfParameters?: number;
  /** Above that and up to so many, `auto` is int8; larger models are int4. @default all */
  readonly int8Parameters?: number;
  /**
   * Whether attention decides nothing while a graph runs, and reads no length from a value: a GPU waits for the
   * processor then.
   * @default false
   */
  readonly staticGraph?: boolean;
  /**
   * Where slots in 8, 5 and 4 bits are blocks with their scales inside: what stores them so; null: numbers and scales are
   * apart.
   */
  readonly slotBlocks: BlockCodecs | null;
  /**
   * Whether a chunk is written to free slots before attention, so that memory for it has to be there.
   * @default never
   */
  attendsInSlots?(buffer: BufferChoice): boolean;
  /** Tokens of a prompt that are read at once where nothing is evicted and no attention weights are wanted. @default 256 */
  readonly chunkLength?: number;
  /** What a format is called here; null: the engine can't hold it. */
  held(format: WeightFormat): WeightFormat | null;
  /** The format of one matrix, where the model's is `format`. */
  weightFormat(matrix: MatrixInfo, format: WeightFormat): WeightFormat;
  /** Whether the experts of attention heads are one matrix for each projection, not matrices of their own. */
  readonly stacksHeadExperts: boolean;
  /** @param width E, what an expert reads. */
  expertLayout(experts: MoeMlp['experts'], width: number, format: WeightFormat): ExpertLayout;
}
