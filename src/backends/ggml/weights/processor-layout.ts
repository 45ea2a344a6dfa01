/**
 * @file The order of blocks that products of this processor read fastest, for weights in files: mapped files are read
 * where they lie, where blocks row after row would be copied at each opening.
 */
import { product } from '../../../util/numbers.ts';
import { sha256 } from '../../../util/sha256.ts';
import type { ParamSpec } from '../../../weights/types.ts';
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { blockLength, GGML_TYPES, type GgmlType, rowBytes } from '../binding/types.ts';
import { fastBufferFor } from '../memory/fast-buffers.ts';
import { TensorContext } from '../memory/tensor-context.ts';

/**
 * The kinds of buffers whose layout puts the blocks of 4, 8 or 16 rows side by side, each such group by itself. Those of
 * KleidiAI arrange whole matrices: they are copied when a model is opened.
 */
const GROUPED: ReadonlySet<string> = new Set(['AMX', 'CPU_REPACK']);
/** A multiple of the rows that any processor's layout puts together. */
export const GROUP_ROWS = 16;

/** How ggml knows that a tensor is in a layout. */
interface Layout {
  /** Of the library's version, and of what it makes of a matrix: another processor has another one. */
  readonly id: string;
  readonly buffer: Pointer;
  readonly extra: bigint;
  /** Bytes of one block of the type: sums may be stored beside it. */
  readonly blockBytes: number;
  /** Whether it is the blocks row after row. */
  readonly keepsOrder: boolean;
}

/** Layouts that were asked for: of a type, and of matrices of a type and size. */
const known = new WeakMap<Ggml, Map<string, Layout | null>>();

/** The layout of a matrix with so many rows and columns; null: it has none, or none for files. */
export function layoutOf(ggml: Ggml, type: GgmlType, rows: number, cols: number): Layout | null {
  if (rows % GROUP_ROWS !== 0) return null;
  return once(ggml, `${type} ${rows} ${cols}`, () => {
    const fast = fastBufferFor(ggml, { type, rows, cols });
    const kind = ggml.fastBuffers.find((buffer) => buffer.type === fast)?.name;
    if (!fast || !kind || !GROUPED.has(kind)) return null;
    return once(ggml, `${type} ${kind}`, () => findLayout(ggml, type, fast, kind));
  });
}

function once(ggml: Ggml, key: string, find: () => Layout | null): Layout | null {
  const all = known.get(ggml) ?? new Map<string, Layout | null>();
  known.set(ggml, all);
  if (!all.has(key)) all.set(key, find());
  return all.get(key)!;
}

/** The layout of a parameter in prepared weights: of its products, where it is a tied head. */
export function layoutOfParam(ggml: Ggml, spec: ParamSpec, type: GgmlType): Layout | null {
  const { shape, productsOnly, isHead, stored } = spec;
  // Blocks of a checkpoint are read in its file.
  if (!productsOnly && !(isHead && stored === undefined)) return null;
  const cols = shape[shape.length - 1];
  const layout = layoutOf(ggml, type, product(shape) / cols, cols);
  return layout?.keepsOrder ? null : layout;
}

/** Bytes of so many values in the layout. */
export const arrangedBytes = ({ blockBytes }: Layout, type: GgmlType, values: number): number =>
  (values / blockLength(type)) * blockBytes;

/** Rows of blocks in the layout. @param rows a multiple of those that it puts together. */
export function arrangeRows(ggml: Ggml, layout: Layout, type: GgmlType, bytes: Uint8Array, rows: number, cols: number) {
  const out = new Uint8Array(arrangedBytes(layout, type, rows * cols));
  const context = new TensorContext(ggml, 1);
  const tensor = ggml.ggml_new_tensor_2d(context.pointer, GGML_TYPES[type], cols, rows);
  placeTensor(context, tensor, layout, ggml.addressOf(out));
  ggml.ggml_backend_tensor_set(tensor, bytes, 0, rows * rowBytes(type, cols));
  context.dispose();
  return out;
}

/** Says that the values of a tensor are at an address, in a layout. */
export function placeTensor(context: TensorContext, tensor: Pointer, { buffer, extra }: Layout, address: bigint): void {
  context.setBuffer(tensor, buffer);
  context.setExtra(tensor, extra);
  context.setData(tensor, address);
}

/**
 * A small matrix is put in a buffer of ggml's: what its tensor refers to holds for all of its type. The buffer stays.
 */
function findLayout(ggml: Ggml, type: GgmlType, fast: Pointer, kind: string): Layout | null {
  const cols = 2 * blockLength(type);
  const context = new TensorContext(ggml, 1);
  const tensor = ggml.ggml_new_tensor_2d(context.pointer, GGML_TYPES[type], cols, GROUP_ROWS);
  const blockBytes = ggml.ggml_backend_buft_get_alloc_size(fast, tensor) / (2 * GROUP_ROWS);
  const buffer = ggml.ggml_backend_alloc_ctx_tensors_from_buft(context.pointer, fast);
  const extra = buffer ? context.extra(tensor) : null;
  context.dispose();
  if (extra === null) return null;
  const sample = Uint8Array.from({ length: GROUP_ROWS * rowBytes(type, cols) }, (_, i) => (i * 37 + (i >> 8)) & 255);
  const unknown = { id: '', buffer, extra, blockBytes, keepsOrder: false };
  const arranged = arrangeRows(ggml, unknown, type, sample, GROUP_ROWS, cols);
  const id = `${ggml.ggml_version()} ${kind} ${sha256(arranged).slice(0, 16)}`;
  return { ...unknown, id, keepsOrder: Buffer.compare(arranged, sample) === 0 };
}
