/**
 * @file HQQ: w = (q - zero) · scale with a zero point that is no integer; values are packed in parts of the group
 * matrix.
 */
import { product } from '../../util/numbers.ts';
import type { Method, QuantizedModule, QuantSettings } from './method.ts';
import { allFloats, madeMatrix, wholeTensor } from './tensors.ts';

/** Modules may have settings of their own, which lie beside their tensors. */
async function ownNumber(module: QuantizedModule, part: string, usual: number): Promise<number> {
  const tensor = module.get(part);
  return tensor && product(tensor.shape) === 1 ? (await allFloats(tensor))[0] : usual;
}

export function hqq(settings: QuantSettings): Method {
  const params = settings.object('quant_config').object('weight_quant_params');
  const stated = { bits: params.int('nbits', 4), size: params.int('group_size', 64), axis: params.int('axis', 1) };
  return {
    name: 'HQQ',
    marks: ['W_q'],
    async read(module) {
      const packed = module.need('W_q');
      const [bits, size] = [
        await ownNumber(module, 'nbits', stated.bits),
        await ownNumber(module, 'group_size', stated.size),
      ];
      if (![1, 2, 4, 8].includes(bits)) throw module.fail(`has ${bits} bits a weight; 1, 2, 4 and 8 are read`);
      if ((await ownNumber(module, 'axis', stated.axis)) !== 1) throw module.fail('has groups along axis 0; 1 is read');
      const [scale, zero] = [module.need('scale'), module.need('zero')];
      const shape = module.get('shape');
      const groups = packed.shape[0] * (8 / bits);
      if (!shape) throw module.fail('has no shape');
      const [rows, cols] = await allFloats(shape);
      if (packed.shape[1] !== size || rows * cols !== groups * size)
        throw module.fail(`packs [${rows}, ${cols}] into [${packed.shape}] bytes of ${bits}-bit values`);
      const made = madeMatrix(`${module.name}.weight`, [rows, cols], `HQQ ${bits} bit`, async (start, count) => {
        const bytes = await wholeTensor(packed);
        const [scales, zeros] = [await allFloats(scale), await allFloats(zero)];
        const height = packed.shape[0];
        const out = new Float32Array(count * cols);
        for (let i = 0; i < out.length; i++) {
          const at = start * cols + i;
          const group = Math.floor(at / size);
          // The first part of the groups is in the highest bits.
          const shift = 8 - bits * (1 + Math.floor(group / height));
          const q = (bytes[(group % height) * size + (at % size)] >> shift) & ((1 << bits) - 1);
          out[i] = (q - zeros[group]) * scales[group];
        }
        return out;
      });
      const meta = [
        'nbits',
        'group_size',
        'shape',
        'axis',
        'channel_wise',
        'packing',
        'view_as_float',
        'unpack_view_dtype',
      ]
        .concat([
          'optimize',
          'round_zero',
          'offload_meta',
          'stores_quant_config',
          'encoded_state_dict',
          'compute_dtype',
        ])
        .concat(['quant_scale', 'quant_zero']);
      return { tensors: [made], used: ['W_q', 'scale', 'zero', ...meta] };
    },
  };
}
