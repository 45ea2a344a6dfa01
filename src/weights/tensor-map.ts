/**
 * @file The language in which a family says where its checkpoints hold the model's parameters.
 */

/**
 * Where a parameter comes from. A string is the name of a module in the checkpoint (`.weight` or `.bias` is added); `{l}`
 * stands for the layer, `{e}` for the expert or head. The other forms take rows of a fused tensor, or turn one around.
 */
export type TensorExpr =
  | string
  /** A tensor's whole name, to which nothing is added. */
  | { readonly bare: string }
  /** The first of several names that the checkpoint has. */
  | { readonly oneOf: readonly string[] }
  /** Rows of several modules below each other, of which only the first has to be there. */
  | { readonly stacked: readonly string[] }
  /** Rows of a fused query-key-value matrix. */
  | { readonly take: 'q' | 'k' | 'v'; readonly from: TensorExpr; readonly order: QkvOrder }
  /** Part `part` of `parts` equal blocks of rows. */
  | { readonly part: number; readonly parts: number; readonly from: TensorExpr }
  /** Block `{e}` of rows, of as many as there are experts or heads. */
  | { readonly nthOf: 'experts' | 'heads' | 'groups'; readonly from: TensorExpr }
  /** Not in the checkpoint: row p + 2 is sin and cos of position p (arXiv 1706.03762, halves side by side); row 1 is zero. */
  | { readonly sinusoids: true }
  /** A matrix stored as [in, out]. Biases are left as they are. */
  | { readonly transposed: TensorExpr };

/**
 * How the rows of a fused matrix are ordered: `stacked` [Q; K; V]; `grouped`: per query group its queries, its key, its
 * value (gpt_neox, falcon, bloom); `codegen`: in four blocks of [Q; V; K].
 */
export type QkvOrder = 'stacked' | 'grouped' | 'codegen';

/** Parameter of the model (`{l}` for the layer, `{e}` for the expert or head), with or without `.weight` / `.bias` → where it is. */
export type TensorMap = Readonly<Record<string, TensorExpr>>;

/** The tensors of a family's checkpoints. */
export interface TensorNames {
  readonly tensors: TensorMap;
  /** Prefixes that files of the model without its head lack, or that others put before every name; @default ['model.'] */
  readonly prefixes?: readonly string[];
  /** Where else tensors may lie: a name that begins with the first may be found under the second in its place. */
  readonly moves?: readonly (readonly [from: string, to: string])[];
  /** Tensors that a checkpoint may hold and the model does not need. */
  readonly ignore?: readonly RegExp[];
}
