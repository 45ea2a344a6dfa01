/**
 * @file Slots that hold blocks of 8, 5 or 4 bits.
 */
import { type BufferChoice, type BufferKind, buffersOf } from '../../../kvcache/buffers.ts';
import type { OpGraph } from '../../../ops/graph.ts';
import type { Value } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import { blockLength, type GgmlType, rowBytes } from '../binding/types.ts';
import type { Tensor } from '../memory/tensor.ts';
import type { GraphMaker } from './graph-maker.ts';

/** How an input of slots is stored. */
export interface SlotFormat {
  readonly type: GgmlType;
  /** Numbers of a key or value. Blocks are filled up with zeros. */
  readonly size: number;
}

const TYPES: Readonly<Record<BufferKind, GgmlType>> = {
  float32: 'f32',
  float16: 'f16',
  int8: 'q8_0',
  int5: 'q5_0',
  int4: 'q4_0',
  'int8-plain': 'q8_0',
  'int4-plain': 'q4_0',
};

/** How keys and values of a buffer are stored. */
export function slotTypes(buffer: BufferChoice): { readonly keys: GgmlType; readonly values: GgmlType } {
  const { keys, values } = buffersOf(buffer);
  return { keys: TYPES[keys], values: TYPES[values] };
}

/** The inputs that hold slots, by name. */
export function slotFormats({ nodes }: OpGraph): Map<string, SlotFormat> {
  const formats = new Map<string, SlotFormat>();
  for (const node of nodes) {
    if (node.op === 'gatherSlots') {
      const { kind, size } = node.attributes;
      formats.set(node.inputs[0]!.name, { type: TYPES[kind], size });
    }
    if (node.op !== 'attend') continue;
    const { keys, values } = slotTypes(node.attributes.buffer);
    const [q, , v] = node.inputs;
    formats.set(node.inputs[7]!.name, { type: values, size: v!.shape[3] as number });
    formats.set(node.inputs[6]!.name, { type: keys, size: q!.shape[3] as number });
  }
  return formats;
}

/** Numbers of a slot, filled up to whole blocks. */
const slotWidth = ({ type, size }: SlotFormat): number => Math.ceil(size / blockLength(type)) * blockLength(type);

/** Bytes of a slot. */
export const slotBytes = (format: SlotFormat): number => rowBytes(format.type, slotWidth(format));

/**
 * The lengths of an input as the graph has them. Slots that are gathered by index may be fewer than the graph is made
 * for, which then serves other numbers of them. A device copies them, so all must be there.
 */
export function graphDims(
  { dtype }: Pick<Value, 'dtype'>,
  dims: readonly number[],
  isDevice: boolean,
): readonly number[] {
  if (dtype !== 'uint8' || dims.length !== 2 || isDevice) return dims;
  return [2 ** Math.ceil(Math.log2(dims[0])), dims[1]];
}

/** A tensor over an input of slots [..., bytes]: [..., size], filled up to whole blocks. */
export function slotLeaf(g: GraphMaker, format: SlotFormat, dims: readonly number[]): Tensor {
  if (dims.at(-1) !== slotBytes(format))
    throw new GraphError(`slots of ${dims.at(-1)} bytes do not hold ${format.size} numbers in ${format.type}`);
  return g.leaf(format.type, [...dims.slice(0, -1), slotWidth(format)]);
}

/**
 * Slots of some groups of a table, one after another.
 * @param stored all slots of the table [rows, D] @param index [B, G, C]
 * @param asStored they may stay blocks: rows of bytes are copied as numbers of 4 bytes each. @returns [B, G, C, D]
 */
export function gathered(g: GraphMaker, stored: Tensor, index: Tensor, size: number, asStored: boolean): Tensor {
  const [rows, width] = stored.dims;
  const bytes = rowBytes(stored.type, width);
  if (!asStored || g.packed || width !== size || bytes % 4 !== 0 || blockLength(stored.type) === 1)
    return g.slice(g.rows(stored, index), 3, 0, size);
  const copied = g.rows(g.readAs(stored, 'f32', [rows, bytes / 4]), index);
  return g.readAs(copied, stored.type, [...index.dims, size]);
}

/** Slots without what fills their last block up. */
export function trimmed(g: GraphMaker, slots: Tensor, { type, size }: SlotFormat): Tensor {
  if (slots.dims[3] === size) return slots;
  const wide =
    type === 'f32' || slots.type === 'f32' ? slots : g.made(g.call('ggml_cast', slots.pointer, 0), slots.dims);
  return g.dense(g.slice(wide, 3, 0, size));
}
