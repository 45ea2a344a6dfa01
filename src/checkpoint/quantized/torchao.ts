/**
 * @file torchao: int8 and fp8 with scales, int4 in plain rows. Its tensors are `_weight_qdata`, `_weight_scale`,
 * `_weight_zero_point`.
 */
import type { StoredTensor } from '../types.ts';
import type { Method, QuantizedModule } from './method.ts';
import { allFloats, madeMatrix, rawBytes, scaledMatrix, withZeroPoints } from './tensors.ts';

const PREFIX = '_weight_';

export function torchao(): Method {
  return {
    name: 'torchao',
    marks: [`${PREFIX}qdata`],
    read(module) {
      const part = (name: string) => module.get(PREFIX + name);
      const qdata = module.need(`${PREFIX}qdata`);
      if (part('scale_and_zero') || qdata.dtype === 'I32' || qdata.shape.length !== 2)
        throw module.fail('is packed for one GPU kernel; save the model with the plain layout');
      if (part('act_pre_scale')) throw module.fail('scales its inputs (act_pre_scale), which is not read');
      const scale = module.need(`${PREFIX}scale`);
      const zero = part('zero_point');
      const name = `${module.name}.weight`;
      const made =
        qdata.dtype === 'U8'
          ? plainInt4(module, qdata, scale, name)
          : zero
            ? withZeroPoints(qdata, scale, zero, name)
            : scaledMatrix(qdata, scale, name, qdata.dtype);
      return { tensors: [made], used: [...module.parts.keys()].filter((key) => key.startsWith(PREFIX)) };
    },
  };
}

/** w = q · scale + zero with q of -8 … 7, the low nibble first; scales and zeros are [groups, rows]. */
function plainInt4(module: QuantizedModule, qdata: StoredTensor, scale: StoredTensor, name: string): StoredTensor {
  const zero = module.need(`${PREFIX}zero_point`);
  const [rows, half] = qdata.shape;
  const cols = half * 2;
  const groups = scale.shape[0];
  if (scale.shape[1] !== rows || `${zero.shape}` !== `${scale.shape}` || cols % groups !== 0)
    throw module.fail(`has scales [${scale.shape}] for [${rows}, ${cols}]`);
  const size = cols / groups;
  return madeMatrix(name, [rows, cols], 'int4', async (start, count) => {
    const bytes = await rawBytes(qdata, start * half, count * half);
    const [scales, zeros] = [await allFloats(scale), await allFloats(zero)];
    return Float32Array.from({ length: count * cols }, (_, i) => {
      const nibble = (bytes[i >> 1] >> (4 * (i & 1))) & 15;
      const at = Math.floor((i % cols) / size) * rows + start + Math.floor(i / cols);
      return Math.fround((nibble > 7 ? nibble - 16 : nibble) * scales[at]) + zeros[at];
    });
  });
}
