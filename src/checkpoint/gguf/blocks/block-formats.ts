/**
 * @file The tensor types of GGUF: how many values a block has, its bytes, and how it becomes float32.
 */
import { widenInto } from '../../../util/half.ts';
import type { BlockRows, StoredDtype } from '../../types.ts';
import { dequantizeIq4Nl, dequantizeIq4Xs, dequantizeMxfp4, dequantizeNvfp4 } from './dequantize-4-bit-tables.ts';
import { dequantizeIq1M, dequantizeIq1S } from './dequantize-iq1.ts';
import { dequantizeIq2S, dequantizeIq2Xs, dequantizeIq2Xxs } from './dequantize-iq2.ts';
import { dequantizeIq3S, dequantizeIq3Xxs } from './dequantize-iq3.ts';
import {
  dequantizeQ2K,
  dequantizeQ3K,
  dequantizeQ4K,
  dequantizeQ5K,
  dequantizeQ6K,
  dequantizeQ8K,
} from './dequantize-k.ts';
import { dequantizeQ4, dequantizeQ5, dequantizeQ8_0 } from './dequantize-legacy.ts';
import { dequantizeTq1, dequantizeTq2 } from './dequantize-ternary.ts';

/** Writes the values of all blocks in `bytes` to `out`. */
export type Dequantize = (bytes: Uint8Array, out: Float32Array) => void;

/** A type of tensors in a GGUF file. */
export interface TensorType {
  readonly name: BlockRows['format'] | 'f64' | 'i8' | 'i16' | 'i32' | 'i64';
  /** Its number in the file. */
  readonly number: number;
  /** Values of one block. */
  readonly blockLength: number;
  readonly blockBytes: number;
  readonly dequantize: Dequantize;
}

function plain(name: TensorType['name'], number: number, dtype: StoredDtype, blockBytes: number): TensorType {
  return { name, number, blockLength: 1, blockBytes, dequantize: (bytes, out) => widenInto(dtype, bytes, out) };
}

function blocks(
  name: TensorType['name'],
  number: number,
  blockLength: number,
  blockBytes: number,
  dequantize: Dequantize,
): TensorType {
  return { name, number, blockLength, blockBytes, dequantize };
}

const TYPES: readonly TensorType[] = [
  plain('f32', 0, 'F32', 4),
  plain('f16', 1, 'F16', 2),
  blocks('q4_0', 2, 32, 18, dequantizeQ4(false)),
  blocks('q4_1', 3, 32, 20, dequantizeQ4(true)),
  blocks('q5_0', 6, 32, 22, dequantizeQ5(false)),
  blocks('q5_1', 7, 32, 24, dequantizeQ5(true)),
  blocks('q8_0', 8, 32, 34, dequantizeQ8_0),
  blocks('q2_k', 10, 256, 84, dequantizeQ2K),
  blocks('q3_k', 11, 256, 110, dequantizeQ3K),
  blocks('q4_k', 12, 256, 144, dequantizeQ4K),
  blocks('q5_k', 13, 256, 176, dequantizeQ5K),
  blocks('q6_k', 14, 256, 210, dequantizeQ6K),
  blocks('q8_k', 15, 256, 292, dequantizeQ8K),
  blocks('iq2_xxs', 16, 256, 66, dequantizeIq2Xxs),
  blocks('iq2_xs', 17, 256, 74, dequantizeIq2Xs),
  blocks('iq3_xxs', 18, 256, 98, dequantizeIq3Xxs),
  blocks('iq1_s', 19, 256, 50, dequantizeIq1S),
  blocks('iq4_nl', 20, 32, 18, dequantizeIq4Nl),
  blocks('iq3_s', 21, 256, 110, dequantizeIq3S),
  blocks('iq2_s', 22, 256, 82, dequantizeIq2S),
  blocks('iq4_xs', 23, 256, 136, dequantizeIq4Xs),
  plain('i8', 24, 'I8', 1),
  plain('i16', 25, 'I16', 2),
  plain('i32', 26, 'I32', 4),
  plain('i64', 27, 'I64', 8),
  plain('f64', 28, 'F64', 8),
  blocks('iq1_m', 29, 256, 56, dequantizeIq1M),
  plain('bf16', 30, 'BF16', 2),
  blocks('tq1_0', 34, 256, 54, dequantizeTq1),
  blocks('tq2_0', 35, 256, 66, dequantizeTq2),
  blocks('mxfp4', 39, 32, 17, dequantizeMxfp4),
  blocks('nvfp4', 40, 64, 36, dequantizeNvfp4),
];

/** By their numbers in files. */
export const TENSOR_TYPES: ReadonlyMap<number, TensorType> = new Map(TYPES.map((type) => [type.number, type]));
const BY_NAME: ReadonlyMap<string, TensorType> = new Map(TYPES.map((type) => [type.name, type]));

/** @throws RangeError for a name that there is not. */
export function tensorType(name: TensorType['name']): TensorType {
  const type = BY_NAME.get(name);
  if (!type) throw new RangeError(`there is no tensor type ${name}`);
  return type;
}
