/**
 * @file GPTQ: `qweight` packs along the inputs, `qzeros` along the outputs, `g_idx` says which group an input is of.
 */
import type { StoredTensor } from '../types.ts';
import type { Method, QuantizedModule, QuantSettings } from './method.ts';
import { allFloats, madeMatrix, neutralBias, q4Blocks, rawBytes, streamValue, wholeTensor } from './tensors.ts';

/**
 * @param zeroOffset the first version of the format stores zero points less one.
 */
export function gptqMethod(settings: QuantSettings, zeroOffset: 0 | 1, name = 'GPTQ'): Method {
  const stated = settings.int('bits', 4);
  return { name, marks: ['qweight'], read: (module) => readModule(module, stated, zeroOffset, name) };
}

/** By its settings: `checkpoint_format` gptq (the default) and gptq_v2. */
export function gptq(settings: QuantSettings): Method {
  const format = settings.text('checkpoint_format', settings.text('format', 'gptq'));
  if (format !== 'gptq' && format !== 'gptq_v2')
    throw settings.fail('checkpoint_format', 'must be "gptq" or "gptq_v2" (others are laid out for one GPU kernel)');
  return gptqMethod(settings, format === 'gptq' ? 1 : 0);
}

/** Bits of a weight that are read. */
const WIDTHS = [2, 3, 4, 8];

const ceilDiv = (a: number, b: number): number => Math.ceil(a / b);

async function readModule(module: QuantizedModule, stated: number, zeroOffset: number, name: string) {
  const [qweight, qzeros, scales] = ['qweight', 'qzeros', 'scales'].map((part) => module.need(part));
  const index = module.get('g_idx');
  const [groups, rows] = scales.shape;
  // Modules may have bits of their own, which the shapes tell: of the inputs' groups, or of the words of zero points.
  const words = qweight.shape[0] * 32;
  const fitting = WIDTHS.filter((width) => ceilDiv(rows * width, 32) === qzeros.shape[1]);
  const bits = index ? words / index.shape[0] : fitting.length === 1 ? fitting[0] : stated;
  const cols = words / bits;
  if (!WIDTHS.includes(bits)) throw module.fail(`has ${bits} bits a weight; 2, 3, 4 and 8 are read`);
  const zeroWords = ceilDiv(rows * bits, 32);
  const fits =
    qweight.shape[1] === rows && qzeros.shape[0] === groups && qzeros.shape[1] === zeroWords && cols % groups === 0;
  if (!fits) throw module.fail('has tensors whose shapes do not fit each other');
  // One output's stream of bits: word by word down its column.
  const streamOf = (words: Uint8Array, row: number, stream: Uint8Array): void => {
    for (let word = 0; word < qweight.shape[0]; word++) {
      const at = (word * rows + row) * 4;
      stream.set(words.subarray(at, at + 4), word * 4);
    }
  };
  const streamBytes = qweight.shape[0] * 4 + 1;
  const weight = madeMatrix(`${module.name}.weight`, [rows, cols], `${name} ${bits} bit`, async (start, count) => {
    const words = await wholeTensor(qweight);
    const zeros = await wholeTensor(qzeros);
    const scale = await allFloats(scales);
    const group = index ? await allFloats(index) : null;
    const size = cols / groups;
    const out = new Float32Array(count * cols);
    const stream = new Uint8Array(streamBytes);
    for (let i = 0; i < count; i++) {
      const row = start + i;
      streamOf(words, row, stream);
      for (let col = 0; col < cols; col++) {
        const g = group ? group[col] : Math.floor(col / size);
        const zero = streamValue(zeros, g * zeroWords * 4, row, bits) + zeroOffset;
        out[i * cols + col] = (streamValue(stream, 0, col, bits) - zero) * scale[g * rows + row];
      }
    }
    return out;
  });
  const isInOrder =
    !index || (await allFloats(index)).every((group, col) => group === Math.floor(col / (cols / groups)));
  const isPlain = bits === 4 && isInOrder && (await areAllEight(qzeros, zeroOffset));
  const blocks = isPlain
    ? q4Blocks([cols, groups], scales, async (start, count) => {
        const words = await wholeTensor(qweight);
        const codes = new Uint8Array(count * cols);
        const stream = new Uint8Array(streamBytes);
        for (let i = 0; i < count; i++) {
          streamOf(words, start + i, stream);
          for (let col = 0; col < cols; col++) codes[i * cols + col] = streamValue(stream, 0, col, 4);
        }
        return { codes, scaleAt: (row, group) => group * rows + row };
      })
    : null;
  const made = blocks ? { ...weight, blocks } : weight;
  return { tensors: [made, ...(await neutralBias(module))], used: ['qweight', 'qzeros', 'scales', 'g_idx', 'bias'] };
}

/** Whether all zero points are 8, as in symmetric checkpoints. They are small: one for a group of inputs. */
async function areAllEight(qzeros: StoredTensor, zeroOffset: number): Promise<boolean> {
  const stored = 8 - zeroOffset;
  return (await rawBytes(qzeros)).every((byte) => byte === (stored | (stored << 4)));
}
