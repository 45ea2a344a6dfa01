/**
 * @file 4-bit floats (E2M1) with scales for 16 or 32 values: nvfp4 and mxfp4, the low nibble first; gpt-oss's experts.
 */
import { CheckpointError } from '../../util/errors.ts';
import { E2M1_DOUBLED } from '../gguf/dequantize-4-bit-tables.ts';
import type { StoredTensor } from '../types.ts';
import type { Method } from './method.ts';
import { allFloats, madeMatrix, rawBytes } from './tensors.ts';

/** Two values a byte, the low nibble first. */
function unpack(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length * 2);
  for (let i = 0; i < bytes.length; i++) {
    out[2 * i] = E2M1_DOUBLED[bytes[i] & 15] / 2;
    out[2 * i + 1] = E2M1_DOUBLED[bytes[i] >> 4] / 2;
  }
  return out;
}

function checkScale(packed: StoredTensor, scale: StoredTensor, block: number): readonly [number, number] {
  const [rows, half] = packed.shape;
  if (packed.shape.length !== 2 || scale.shape[0] !== rows || scale.shape[1] !== (half * 2) / block)
    throw new CheckpointError(
      `The tensor ${scale.name} has the shape [${scale.shape}]; scales for ${block} values of [${packed.shape}] bytes are needed.`,
    );
  return [rows, half * 2];
}

/** A power of two from the byte of its exponent. */
export const powerOfTwo = (byte: number): number => 2 ** (byte - 127);

/** Scales are exponents, for 32 values each. */
export function mxfp4Matrix(packed: StoredTensor, scale: StoredTensor, name: string): StoredTensor {
  const [rows, cols] = checkScale(packed, scale, 32);
  return madeMatrix(name, [rows, cols], 'mxfp4', async (start, count) => {
    const values = unpack(await rawBytes(packed, (start * cols) / 2, (count * cols) / 2));
    const exponents = await rawBytes(scale, (start * cols) / 32, (count * cols) / 32);
    for (let i = 0; i < values.length; i++) values[i] *= powerOfTwo(exponents[i >> 5]);
    return values;
  });
}

/**
 * Scales are E4M3, for 16 values each, and perhaps one more is for all.
 * @param by whether the latter multiplies or divides.
 */
export function nvfp4Matrix(
  packed: StoredTensor,
  scale: StoredTensor,
  name: string,
  global: StoredTensor | null,
  by: 'multiply' | 'divide',
): StoredTensor {
  const [rows, cols] = checkScale(packed, scale, 16);
  return madeMatrix(name, [rows, cols], 'nvfp4', async (start, count) => {
    const values = unpack(await rawBytes(packed, (start * cols) / 2, (count * cols) / 2));
    const scales = await scale.readFloats((start * cols) / 16, (count * cols) / 16);
    const [all] = global ? await allFloats(global) : [1];
    for (let i = 0; i < scales.length; i++) scales[i] = by === 'divide' ? scales[i] / all : scales[i] * all;
    for (let i = 0; i < values.length; i++) values[i] *= scales[i >> 4];
    return values;
  });
}

/** gpt-oss: `X_blocks` [E, rows, cols / 32, 16] and `X_scales` [E, rows, cols / 32] are X [E, cols, rows]. */
export function mxfp4Experts(): Method {
  return {
    name: 'mxfp4',
    marks: ['gate_up_proj_blocks', 'down_proj_blocks'],
    read(module) {
      const projections = ['gate_up_proj', 'down_proj'].filter((name) => module.get(`${name}_blocks`));
      const tensors = projections.map((name) => {
        const blocks = module.need(`${name}_blocks`);
        const scales = module.need(`${name}_scales`);
        const [experts, rows, groups, bytes] = blocks.shape;
        if (blocks.shape.length !== 4 || bytes !== 16 || `${scales.shape}` !== `${[experts, rows, groups]}`)
          throw module.fail(`has ${name}_blocks [${blocks.shape}] with ${name}_scales [${scales.shape}]`);
        return expertTensor(`${module.name}.${name}`, blocks, scales);
      });
      return { tensors, used: projections.flatMap((name) => [`${name}_blocks`, `${name}_scales`]) };
    },
  };
}

function expertTensor(name: string, blocks: StoredTensor, scales: StoredTensor): StoredTensor {
  const [experts, rows, groups] = blocks.shape;
  const cols = groups * 32;
  const size = rows * cols;
  let last: { readonly expert: number; readonly values: Float32Array } | null = null;
  const expertValues = async (expert: number): Promise<Float32Array> => {
    if (last?.expert === expert) return last.values;
    const packed = unpack(await rawBytes(blocks, (expert * size) / 2, size / 2));
    const exponents = await rawBytes(scales, (expert * size) / 32, size / 32);
    const values = new Float32Array(size);
    for (let row = 0; row < rows; row++)
      for (let col = 0; col < cols; col++) {
        const at = row * cols + col;
        values[col * rows + row] = packed[at] * powerOfTwo(exponents[at >> 5]);
      }
    last = { expert, values };
    return values;
  };
  const flat = madeMatrix(name, [experts, size], 'mxfp4', async (start, count) => {
    const out = new Float32Array(count * size);
    for (let i = 0; i < count; i++) out.set(await expertValues(start + i), i * size);
    return out;
  });
  return { ...flat, shape: [experts, cols, rows] };
}
