/**
 * @file The tensors of a GGUF file as a checkpoint's: readable in parts as float32, and as the blocks that they are.
 */
import { InputError } from '../../util/errors.ts';
import { product } from '../../util/numbers.ts';
import type { BlockRows, ByteSource, StoredDtype, StoredTensor } from '../types.ts';
import type { TensorInfo } from './header.ts';

/** Bytes that are read at once. */
const PIECE_BYTES = 1 << 24;

/** Types of tensors that safetensors has a name for, too. */
const DTYPES: Readonly<Record<string, StoredDtype>> = {
  f32: 'F32',
  f16: 'F16',
  bf16: 'BF16',
  f64: 'F64',
  i8: 'I8',
  i16: 'I16',
  i32: 'I32',
  i64: 'I64',
};
const BLOCK_FREE = new Set(['f64', 'i8', 'i16', 'i32', 'i64']);

/** A tensor where it lies in `source`, which must stay open. */
export function storedTensor(source: ByteSource, info: TensorInfo): StoredTensor {
  const { name, type, shape } = info;
  const elements = product(shape);
  const dtype = DTYPES[type.name];
  const checkRange = (start: number, count: number): void => {
    if (
      !(
        Number.isSafeInteger(start) &&
        Number.isSafeInteger(count) &&
        start >= 0 &&
        count >= 0 &&
        start + count <= elements
      )
    )
      throw new InputError(
        `elements ${start} to ${start + count} of tensor ${JSON.stringify(name)} were asked for; it has ${elements}`,
      );
  };
  return {
    name,
    dtype: dtype ?? 'F32',
    format: type.name,
    shape,
    async readFloats(start, count) {
      checkRange(start, count);
      const out = new Float32Array(count);
      const { blockLength, blockBytes } = type;
      const perPiece = Math.floor(PIECE_BYTES / blockBytes);
      const last = Math.ceil((start + count) / blockLength);
      for (let block = Math.floor(start / blockLength); block < last; block += perPiece) {
        const blocks = Math.min(perPiece, last - block);
        const bytes = await source.read(info.offset + block * blockBytes, blocks * blockBytes);
        const from = block * blockLength - start;
        if (from >= 0 && from + blocks * blockLength <= count) {
          type.dequantize(bytes, out.subarray(from, from + blocks * blockLength));
          continue;
        }
        // The first or the last block is only in part within the range.
        const values = new Float32Array(blocks * blockLength);
        type.dequantize(bytes, values);
        const first = Math.max(0, -from);
        out.set(values.subarray(first, Math.min(values.length, count - from)), from + first);
      }
      return out;
    },
    ...(dtype === undefined
      ? {}
      : {
          async readBytes(start: number, count: number) {
            checkRange(start, count);
            return source.read(info.offset + start * type.blockBytes, count * type.blockBytes);
          },
        }),
    ...(BLOCK_FREE.has(type.name) ? {} : { blocks: blockRows(source, info) }),
  };
}

function blockRows(source: ByteSource, { type, shape, offset }: TensorInfo): BlockRows {
  const cols = shape[shape.length - 1];
  const rowBytes = (cols / type.blockLength) * type.blockBytes;
  return {
    format: type.name as BlockRows['format'],
    rowBytes,
    read: (start, count, into) => source.read(offset + start * rowBytes, count * rowBytes, into),
    ...(source.path === undefined ? {} : { location: { path: source.path, offset } }),
  };
}
