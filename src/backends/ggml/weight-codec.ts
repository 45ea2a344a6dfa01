/**
 * @file How weights are stored for ggml: in its own types, one tensor a parameter.
 */
import { product } from '../../util/numbers.ts';
import type { WeightCodec } from '../../weights/codec.ts';
import type { ParamSpec, WeightFormat } from '../../weights/types.ts';
import { openGgml } from './binding.ts';
import { blockLength, GGML_TYPES, type GgmlType, rowBytes } from './types.ts';

const TYPES: Readonly<Record<WeightFormat, GgmlType>> = { float32: 'f32', int8: 'q8_0', int4: 'q4_0' };

/** The type of a parameter: rows that do not divide into blocks stay float32. */
export function typeOf({ role, format, shape, stored }: ParamSpec): GgmlType {
  if (role === 'plain') return 'f32';
  if (stored !== undefined && isKept(stored)) return stored;
  const type = TYPES[format];
  return shape[shape.length - 1] % blockLength(type) === 0 ? type : 'f32';
}

/** Formats in blocks, which products read as they are. */
function isKept(format: string): format is GgmlType {
  return Object.hasOwn(GGML_TYPES, format) && blockLength(format as GgmlType) > 1;
}

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

export const ggmlCodec: WeightCodec = {
  id: 'ggml 1',
  keeps: isKept,
  parts(spec) {
    const type = typeOf(spec);
    const size = product(spec.shape);
    return [{ name: spec.name, dtype: type, shape: spec.shape, length: rowBytes(type, size) }];
  },
  encode(spec, values, rows, cols) {
    const type = typeOf(spec);
    if (type === 'f32') return [bytesOf(values)];
    const out = new Uint8Array(rows * rowBytes(type, cols));
    openGgml().ggml_quantize_chunk(GGML_TYPES[type], values, out, 0, rows, cols, null);
    return [out];
  },
};
