/**
 * @file 4-bit floats (E2M1) with scales for 16 or 32 values: nvfp4 and mxfp4, the low nibble first; gpt-oss's experts.
 */
import { CheckpointError } from '../../util/errors.ts';
import { E2M1_DOUBLED } from '../gguf/blocks/dequantize-4-bit-tables.ts';
import { pickedRows, slicedRows } from '../gguf/rearrange.ts';
import type { BlockRows, StoredTensor } from '../types.ts';
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
      `the tensor ${scale.name} has the shape [${scale.shape}], but must have a scale for each ${block} of the values in [${packed.shape}] bytes`,
    );
  return [rows, half * 2];
}

/** A power of two from the byte of its exponent. */
export const powerOfTwo = (byte: number): number => 2 ** (byte - 127);

/** Scales are exponents, for 32 values each. */
export function mxfp4Matrix(packed: StoredTensor, scale: StoredTensor, name: string): StoredTensor {
  const [rows, cols] = checkScale(packed, scale, 32);
  const made = madeMatrix(name, [rows, cols], 'mxfp4', async (start, count) => {
    const values = unpack(await rawBytes(packed, (start * cols) / 2, (count * cols) / 2));
    const exponents = await rawBytes(scale, (start * cols) / 32, (count * cols) / 32);
    for (let i = 0; i < values.length; i++) values[i] *= powerOfTwo(exponents[i >> 5]);
    return values;
  });
  return { ...made, blocks: mxfp4Blocks(packed, scale, cols) };
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

/** Values and bytes of one block of ggml's mxfp4: the exponent, then values j and j + 16 in byte j. */
const MX_VALUES = 32;
const MX_BYTES = 17;

/** The same values as ggml's blocks. */
function mxfp4Blocks(packed: StoredTensor, scale: StoredTensor, cols: number): BlockRows {
  const perRow = cols / MX_VALUES;
  return {
    format: 'mxfp4',
    rowBytes: perRow * MX_BYTES,
    async read(start, count) {
      const bytes = await rawBytes(packed, (start * cols) / 2, (count * cols) / 2);
      const exponents = await rawBytes(scale, start * perRow, count * perRow);
      const out = new Uint8Array(count * perRow * MX_BYTES);
      const codeOf = (value: number) => (bytes[value >> 1] >> (4 * (value & 1))) & 15;
      for (let block = 0; block < count * perRow; block++) {
        const to = block * MX_BYTES;
        const from = block * MX_VALUES;
        out[to] = exponents[block];
        for (let j = 0; j < 16; j++) out[to + 1 + j] = codeOf(from + j) | (codeOf(from + 16 + j) << 4);
      }
      return out;
    },
  };
}

/**
 * gpt-oss: `X_blocks` [E, rows, cols / 32, 16] and `X_scales` [E, rows, cols / 32] are a matrix [rows, cols] for each
 * expert; rows of gate and up are by turns.
 */
export function mxfp4Experts(): Method {
  return {
    name: 'mxfp4',
    marks: ['gate_up_proj_blocks', 'down_proj_blocks'],
    read(module) {
      const projections = ['gate_up_proj', 'down_proj'].filter((name) => module.get(`${name}_blocks`));
      const tensors = projections.flatMap((name) => {
        const blocks = module.need(`${name}_blocks`);
        const scales = module.need(`${name}_scales`);
        const [experts, rows, groups, bytes] = blocks.shape;
        if (blocks.shape.length !== 4 || bytes !== 16 || `${scales.shape}` !== `${[experts, rows, groups]}`)
          throw module.fail(`has ${name}_blocks [${blocks.shape}] with ${name}_scales [${scales.shape}]`);
        if (name === 'gate_up_proj' && rows % 2 !== 0) throw module.fail(`has ${rows} rows of gate and up`);
        const all = experts * rows;
        const whole = mxfp4Matrix(
          { ...blocks, shape: [all, groups * 16] },
          { ...scales, shape: [all, groups] },
          `${module.name}.${name}`,
        );
        return Array.from({ length: experts }, (_, e) => expertsOf(whole, module.name, name, rows, e)).flat();
      });
      return { tensors, used: projections.flatMap((name) => [`${name}_blocks`, `${name}_scales`]) };
    },
  };
}

/** The matrices of one expert, which has `rows` of all rows. */
function expertsOf(
  whole: StoredTensor,
  module: string,
  projection: string,
  rows: number,
  expert: number,
): StoredTensor[] {
  const first = expert * rows;
  const name = (own: string) => `${module}.${expert}.${own}.weight`;
  if (projection === 'down_proj') return [slicedRows(whole, name('down_proj'), first, rows)];
  return ['gate_proj', 'up_proj'].map((own, turn) =>
    pickedRows(whole, name(own), rows / 2, (row) => first + 2 * row + turn),
  );
}
