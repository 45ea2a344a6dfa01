/**
 * @file MLX: `weight` packs along the inputs (low bits first), w = q · scale + bias for groups of inputs; or mxfp4.
 */
import { mxfp4Matrix } from './fp4.ts';
import type { Method, QuantSettings } from './method.ts';
import { madeMatrix, rawBytes, streamValue } from './tensors.ts';

export function mlx(settings: QuantSettings): Method {
  const mode = settings.text('mode', 'affine');
  if (mode !== 'affine' && mode !== 'mxfp4') throw settings.fail('mode', 'must be "affine" or "mxfp4"');
  const stated = settings.int('group_size', 64);
  // Modules may have settings of their own, by their names.
  const own = new Map(
    settings.entries().flatMap(([path, value]) => (isGroup(value) ? [[path, value.group_size]] : [])),
  );
  return {
    name: 'MLX',
    marks: ['scales'],
    read(module) {
      const weight = module.need('weight');
      const scales = module.need('scales');
      const biases = module.get('biases');
      const name = `${module.name}.weight`;
      const [rows, words] = weight.shape;
      const groups = scales.shape[1];
      if (!biases) {
        // As bytes: eight values a word, the low nibble first.
        const packed = { ...weight, shape: [rows, words * 4], readBytes: bytesOfWords(weight.readBytes) };
        return { tensors: [mxfp4Matrix(packed, scales, name)], used: ['weight', 'scales'] };
      }
      const size = own.get(module.name) ?? stated;
      const cols = groups * size;
      const bits = (words * 32) / cols;
      if (![2, 3, 4, 5, 6, 8].includes(bits) || weight.shape.length !== 2 || scales.shape[0] !== rows)
        throw module.fail(`packs [${rows}, ${cols}] into [${weight.shape}] words, which is ${bits} bits a weight`);
      const made = madeMatrix(name, [rows, cols], `MLX ${bits} bit`, async (start, count) => {
        const bytes = await rawBytes(weight, start * words, count * words);
        const scale = await scales.readFloats(start * groups, count * groups);
        const bias = await biases.readFloats(start * groups, count * groups);
        const out = new Float32Array(count * cols);
        for (let i = 0; i < count; i++)
          for (let col = 0; col < cols; col++) {
            const g = i * groups + Math.floor(col / size);
            out[i * cols + col] = Math.fround(streamValue(bytes, i * words * 4, col, bits) * scale[g]) + bias[g];
          }
        return out;
      });
      return { tensors: [made], used: ['weight', 'scales', 'biases'] };
    },
  };
}

const isGroup = (value: unknown): value is { group_size: number } =>
  typeof value === 'object' && value !== null && 'group_size' in value && typeof value.group_size === 'number';

/** A reader of words as one of bytes. */
function bytesOfWords(read: ((start: number, count: number) => Promise<Uint8Array>) | undefined) {
  if (!read) return undefined;
  return async (start: number, count: number): Promise<Uint8Array> => {
    const first = Math.floor(start / 4);
    const bytes = await read(first, Math.ceil((start + count) / 4) - first);
    return bytes.subarray(start - first * 4, start - first * 4 + count);
  };
}
