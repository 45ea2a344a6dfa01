/**
 * @file How weights are stored for ggml: in its own types, one tensor a parameter.
 */
import { usableCores } from '../../../util/machine-node.ts';
import { product } from '../../../util/numbers.ts';
import type { WeightCodec } from '../../../weights/codec.ts';
import {
  fittingFormat,
  type GgmlFormat,
  ggmlFormatOf,
  type MatrixInfo,
} from '../../../weights/formats/ggml-formats.ts';
import type { ParamSpec, WeightFormat } from '../../../weights/types.ts';
import { openGgml } from '../binding/binding.ts';
import { blockLength, GGML_TYPES, type GgmlType, rowBytes } from '../binding/types.ts';
import { arrangedBytes, arrangeRows, GROUP_ROWS, layoutOfParam } from './processor-layout.ts';

/** ggml's own name of a format. */
const ownName = (format: Exclude<WeightFormat, 'float32'>): GgmlFormat =>
  format === 'int8' ? 'q8_0' : format === 'int4' ? 'q4_0' : format;

/** The format of one matrix where the model's is `format`: rows that do not divide into blocks stay float32. */
export function matrixFormat(matrix: MatrixInfo, format: WeightFormat): WeightFormat {
  if (format === 'float32') return format;
  if (format === 'int8' || format === 'int4') return fittingFormat(ownName(format), matrix.cols) ? format : 'float32';
  return ggmlFormatOf(format, matrix) ?? 'float32';
}

/** The type of a parameter, as it is stored. */
function typeOf({ role, format, shape, stored }: ParamSpec): GgmlType {
  if (role === 'plain') return 'f32';
  if (stored !== undefined && isKept(stored)) return stored;
  if (format === 'float32') return 'f32';
  const type = ownName(format);
  return shape[shape.length - 1] % blockLength(type) === 0 ? type : 'f32';
}

/** Formats that products read as they are. */
function isKept(format: string): format is GgmlType {
  return Object.hasOwn(GGML_TYPES, format);
}

/**
 * Formats with which activations are rounded to 8 bits in blocks as long as theirs, so that two terms of them are exact
 * to 15 bits.
 */
const REFINED: ReadonlySet<string> = new Set(
  Object.keys(GGML_TYPES).filter((name) => blockLength(name as GgmlType) > 1),
);

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Most threads that quantize: those that Node keeps for such work. */
const MOST_THREADS = 4;
/** Fewer values are quantized at once. Memory of small arrays may be moved while another thread uses it. */
const SMALL = 65_536;

/** Blocks row after row: what devices read. */
export const plainCodec: WeightCodec = {
  id: 'ggml 1',
  keeps: isKept,
  refines: (format) => REFINED.has(format),
  mixes: true,
  parts(spec) {
    const type = typeOf(spec);
    const size = product(spec.shape);
    const refined = spec.format === 'f16' && REFINED.has(type) ? { refined: true } : {};
    return [{ name: spec.name, dtype: type, shape: spec.shape, length: rowBytes(type, size), ...refined }];
  },
  async encode(spec, values, rows, cols) {
    const type = typeOf(spec);
    if (type === 'f32') return [bytesOf(values)];
    const out = new Uint8Array(rows * rowBytes(type, cols));
    const ggml = openGgml();
    const importance = spec.importance?.length === cols ? spec.importance : null;
    const parts = values.length < SMALL ? 1 : Math.min(rows, MOST_THREADS, usableCores());
    const quantize = async (part: number): Promise<void> => {
      const [start, end] = [Math.floor((part * rows) / parts), Math.floor(((part + 1) * rows) / parts)];
      const args = [GGML_TYPES[type], values, out, start * cols, end - start, cols, importance] as const;
      if (parts === 1) ggml.ggml_quantize_chunk(...args);
      else await ggml.quantize(...args);
    };
    await Promise.all(Array.from({ length: parts }, (_, part) => quantize(part)));
    return [out];
  },
};

/** The name of a tied head in the processor's layout, beside the embedding's rows. */
export const headName = (name: string): string => `${name}.head`;

/**
 * Blocks in the order that this processor reads fastest, where it has one: other processors make files of their own.
 * The rows of an embedding stay as they are, and a tied head is stored once more for its products.
 */
export const ggmlCodec: WeightCodec = {
  ...plainCodec,
  parts(spec) {
    const type = typeOf(spec);
    const layout = layoutOfParam(openGgml(), spec, type);
    const parts = plainCodec.parts(spec);
    if (!layout) return parts;
    const length = arrangedBytes(layout, type, product(spec.shape));
    const arranged = { ...parts[0], layout: layout.id, length };
    return spec.isHead ? [...parts, { ...arranged, name: headName(spec.name) }] : [arranged];
  },
  arrangedRows: GROUP_ROWS,
  arrange(spec, bytes, rows, cols) {
    const ggml = openGgml();
    const type = typeOf(spec);
    const layout = layoutOfParam(ggml, spec, type);
    if (!layout) return [bytes];
    const arranged = arrangeRows(ggml, layout, type, bytes, rows, cols);
    return spec.isHead ? [bytes, arranged] : [arranged];
  },
};
