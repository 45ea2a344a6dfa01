/** @file Norms: of a layer, of queries and keys, of experts. */

export interface NormSpec {
  readonly kind: 'rms' | 'layer';
  readonly eps: number;
  /** Has a weight. */
  readonly affine: boolean;
  readonly bias: boolean;
  /** The checkpoint holds w - 1. */
  readonly unitOffset: boolean;
}

/** Normalization of queries and keys. */
export interface QkNormSpec extends NormSpec {
  /** Before or after they are rotated. `full` is always before. */
  readonly place: 'before-rope' | 'after-rope';
  /** `head`: one weight of keySize for all heads; `each-head`: one per head; `full`: over all heads together. */
  readonly over: 'head' | 'each-head' | 'full';
}
