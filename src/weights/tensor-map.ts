/**
 * @file The language in which a family says where its checkpoints hold the model's parameters.
 */
import type { Config } from '../config/config.ts';
import type { LayerSpec } from '../config/layer-spec.ts';

/**
 * Where a parameter comes from. A string is the name of a module in the checkpoint (`.weight` or `.bias` is added);
 * `{l}` stands for the layer, `{e}` for the expert or head. The other forms take rows of a fused tensor, or turn one
 * around.
 */
export type TensorExpr =
  | string
  /** A tensor's whole name, to which nothing is added. */
  | { readonly bare: string }
  /** The first of several that the checkpoint has. */
  | { readonly oneOf: readonly TensorExpr[] }
  /** Rows of several modules below each other, of which only the first has to be there. */
  | { readonly stacked: readonly string[] }
  /** One segment of a fused matrix whose rows come in groups of segments. */
  | { readonly segment: number; readonly of: SegmentsOf; readonly from: TensorExpr }
  /** Several below each other, each of so many rows. */
  | { readonly joined: readonly TensorExpr[]; readonly heights: (layer: LayerSpec) => readonly number[] }
  /** Part `part` of `parts` equal blocks of rows. */
  | { readonly part: number; readonly parts: number; readonly from: TensorExpr }
  /** Block `{e}` of rows, of as many as there are experts or heads. */
  | { readonly nthOf: 'experts' | 'heads' | 'groups'; readonly from: TensorExpr }
  /**
   * Not in the checkpoint: row p + 2 is sin and cos of position p (arXiv 1706.03762, halves side by side); row 1 is
   * zero.
   */
  | { readonly sinusoids: true }
  /** A matrix stored as [in, out]. Biases are left as they are. */
  | { readonly transposed: TensorExpr }
  /** Where the tensor has too few rows, the first row stands in place of those that it lacks. */
  | { readonly extended: string }
  /** A matrix that some checkpoints store as [out, in] and others as [in, out]: the shape tells. */
  | { readonly eitherWay: TensorExpr };

/** Rows in `count` groups; each group has segments of these sizes, in this order. */
export interface Segments {
  readonly count: number;
  readonly sizes: readonly number[];
}
export type SegmentsOf = (layer: LayerSpec) => Segments;

/**
 * Parameter of the model (`{l}` for the layer, `{e}` for the expert or head), with or without `.weight`
 * / `.bias` → where it is.
 */
export type TensorMap = Readonly<Record<string, TensorExpr>>;

/** The tensors of a family's checkpoints. */
export interface TensorNames {
  readonly tensors: TensorMap;
  /**
   * Prefixes that files of the model without its head lack, or that others put before every name; @default ['model.']
   */
  readonly prefixes?: readonly string[];
  /** Where else tensors may lie: a name that begins with the first may be found under the second in its place. */
  readonly moves?: readonly (readonly [from: string, to: string])[];
  /** Tensors that a checkpoint may hold and the model does not need. */
  readonly ignore?: readonly (RegExp | ((name: string, config: Pick<Config, 'nLayer' | 'layers'>) => boolean))[];
}
