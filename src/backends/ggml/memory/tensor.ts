/**
 * @file A tensor as the files of this backend see it: a pointer with its type, lengths and strides.
 */
import type { Pointer } from '../binding/functions.ts';
import type { GgmlType } from '../binding/types.ts';

/** A tensor of the graph, or one of the weights. */
export interface Tensor {
  readonly pointer: Pointer;
  readonly type: GgmlType;
  /** Up to four lengths, the outermost axis first. */
  readonly dims: readonly number[];
  /** Bytes from one index to the next, of four axes in ggml's order. */
  readonly strides: readonly number[];
  /** Weights whose products take the terms of what they are multiplied with (`GraphMaker.terms`). @default false */
  readonly refined?: boolean;
  /**
   * Weights that are stored as several matrices, whose products are to be put side by side; there is no pointer then.
   */
  readonly pieces?: readonly Tensor[];
}
