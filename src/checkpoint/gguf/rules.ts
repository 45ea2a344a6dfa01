/**
 * @file How GGUF's tensors differ from Hugging Face's: rows of heads in another order, norms with one added, experts in
 * one tensor.
 */
import { CheckpointError } from '../../util/errors.ts';
import type { GgufModel, TensorRule } from './architecture.ts';
import { entry, mapped, pickedRows, slicedRows, turned } from './rearrange.ts';

/** No layer has more experts or heads. */
const MAX_ENTRIES = 8192;

const filled = (name: string, layer: string): string => name.replace('{l}', layer);

/**
 * Rows of queries or keys whose rotation is interleaved in the file: pairs (2i, 2i + 1) become (i, i + half) within
 * each head.
 */
export function rotatedRows(to: string, heads: 'nHead' | 'nQueryGroups'): TensorRule {
  return {
    to,
    make: (tensor, name, model) => {
      const rows = tensor.shape[0];
      const size = rows / model[heads];
      const half = size / 2;
      if (!Number.isInteger(half)) return pickedRows(tensor, name, rows, (row) => row); // its shape is refused later
      return pickedRows(tensor, name, rows, (row) => {
        const inHead = row % size;
        return row - inHead + (inHead < half ? 2 * inHead : 2 * (inHead - half) + 1);
      });
    },
  };
}

/** The queries and keys of Llama and its kin. */
export const ROTATED: Readonly<Record<string, TensorRule>> = {
  'blk.{l}.attn_q': rotatedRows('model.layers.{l}.self_attn.q_proj', 'nHead'),
  'blk.{l}.attn_k': rotatedRows('model.layers.{l}.self_attn.k_proj', 'nQueryGroups'),
};

/** A tensor whose name in the family has no suffix. */
export const bare = (to: string): TensorRule => ({
  each: (tensor, _, layer) => [{ ...tensor, name: filled(to, layer) }],
});

/** A norm whose weights are stored as 1 + w, and which the family reads as w. Biases are left as they are. */
export const oneLess = (to: string): TensorRule => ({
  to,
  make: (tensor, name) => (name.endsWith('.bias') ? { ...tensor, name } : mapped(tensor, name, (w) => w - 1)),
});

/** A matrix [out, in] that the family reads as [in, out] (GPT-2). */
export const asConv1d = (to: string): TensorRule => ({
  to,
  make: (tensor, name) => (tensor.shape.length === 2 ? turned(tensor, name) : { ...tensor, name }),
});

/** One tensor of all experts [E, …]: a tensor for each, `{e}` in the name. */
export const expertsOf = (to: string): TensorRule => ({
  each: (tensor, suffix, layer) => {
    const count = tensor.shape[0];
    if (count > MAX_ENTRIES)
      throw new CheckpointError(
        `the tensor ${tensor.name} is of ${count} experts or heads; at most ${MAX_ENTRIES} are supported`,
      );
    const name = (e: number) => filled(to, layer).replace('{e}', String(e)) + suffix;
    return Array.from({ length: count }, (_, e) => entry(tensor, name(e), e));
  },
});

/** Rows of several modules below each other: a tensor for each, of `heights` rows. */
export const split = (to: readonly string[], heights: (model: GgufModel) => readonly number[]): TensorRule => ({
  each: (tensor, suffix, layer, model) => {
    let start = 0;
    return heights(model).map((height, i) => {
      const piece = slicedRows(tensor, filled(to[i], layer) + suffix, start, height);
      start += height;
      return piece;
    });
  },
});

/** Heights of queries, keys and values below each other. */
export const qkvHeights = ({ nHead, nQueryGroups, headSize }: GgufModel): readonly number[] => [
  nHead * headSize,
  nQueryGroups * headSize,
  nQueryGroups * headSize,
];

/** [Q; K; V] as the families with fused matrices have it: for each query group its queries, its key, its value. */
export const groupedQkv = (to: string): TensorRule => ({
  to,
  make: (tensor, name, { nHead, nQueryGroups, headSize }) => {
    const ratio = nHead / nQueryGroups;
    const group = (ratio + 2) * headSize;
    const [keys, values] = [nHead * headSize, (nHead + nQueryGroups) * headSize];
    return pickedRows(tensor, name, tensor.shape[0], (row) => {
      const index = Math.floor(row / group);
      const inGroup = row % group;
      if (inGroup < ratio * headSize) return index * ratio * headSize + inGroup;
      const inKey = inGroup - ratio * headSize;
      return inKey < headSize ? keys + index * headSize + inKey : values + index * headSize + inKey - headSize;
    });
  },
});

/** One tensor [heads, headSize] of norms: a tensor for each head, `{e}` in the name. */
export const perHead = (to: string): TensorRule => expertsOf(to);
