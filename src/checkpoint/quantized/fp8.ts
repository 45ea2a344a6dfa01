/**
 * @file 8-bit floats with scales: DeepSeek's and Qwen's `fp8` (squares of 128 or one scale), fbgemm_fp8, and NVIDIA's
 * modelopt (fp8, nvfp4).
 */
import type { StoredTensor } from '../types.ts';
import { mxfp4Matrix, nvfp4Matrix } from './fp4.ts';
import type { Method, QuantizedModule, QuantSettings } from './method.ts';
import { scaledMatrix, withZeroPoints } from './tensors.ts';

/** Scales of activations, which stay float here. */
const ACTIVATIONS = ['input_scale', 'activation_scale', 'input_scale_ub', 'k_scale', 'v_scale'];

export function fp8(settings: QuantSettings): Method {
  const block = settings.get('weight_block_size');
  const isBlock = Array.isArray(block) && block.length === 2 && block.every((n) => Number.isInteger(n) && n > 0);
  if (block !== undefined && !isBlock) throw settings.fail('weight_block_size', 'must be two whole numbers, or null');
  const size = isBlock ? (block as [number, number]) : undefined;
  return {
    name: 'fp8',
    marks: ['weight_scale_inv', 'weight_scale'],
    read(module) {
      const scale = module.get('weight_scale_inv') ?? module.need('weight_scale');
      return { tensors: [scaled(module, asExponents(scale), size)], used: [...USED, ...ACTIVATIONS] };
    },
  };
}

const USED = ['weight', 'weight_scale', 'weight_scale_inv', 'weight_scale_2'];

/** One scale for all has no block. */
function scaled(module: QuantizedModule, scale: StoredTensor, block?: readonly [number, number]): StoredTensor {
  const weight = module.need('weight');
  const single = scale.shape.every((length) => length === 1);
  return scaledMatrix(weight, scale, `${module.name}.weight`, weight.dtype, single ? undefined : block);
}

/** Scales that are powers of two may be stored as bytes. */
const asExponents = (scale: StoredTensor): StoredTensor =>
  scale.dtype === 'U8'
    ? {
        ...scale,
        readFloats: async (start, count) => (await scale.readFloats(start, count)).map((e) => 2 ** (e - 127)),
      }
    : scale;

/** Of modelopt; in a mixture the tensors tell which a module has. */
const ALGORITHMS = ['FP8', 'NVFP4', 'FP8_PER_CHANNEL_PER_TOKEN', 'MIXED_PRECISION'];

export function modelopt(settings: QuantSettings): Method {
  const algorithm = settings.text('quant_algo', settings.object('quantization').text('quant_algo', 'FP8'));
  if (!ALGORITHMS.includes(algorithm)) throw settings.fail('quant_algo', `must be one of ${ALGORITHMS.join(', ')}`);
  return {
    name: `modelopt ${algorithm}`,
    marks: ['weight_scale'],
    read(module) {
      const scale = module.need('weight_scale');
      const second = module.get('weight_scale_2');
      if (module.get('pre_quant_scale')) throw module.fail('scales its inputs (pre_quant_scale), which is not read');
      const made = second
        ? nvfp4Matrix(module.need('weight'), scale, `${module.name}.weight`, second, 'multiply')
        : scaled(module, scale);
      return { tensors: [made], used: [...USED, ...ACTIVATIONS] };
    },
  };
}

/** AMD's Quark: fp8 and int8 with scales for a tensor or a row, and mxfp4. */
export function quark(): Method {
  return {
    name: 'Quark',
    marks: ['weight_scale'],
    read(module) {
      const weight = module.need('weight');
      const scale = module.need('weight_scale');
      const isFour = weight.dtype === 'U8' && scale.dtype === 'U8';
      if (!isFour && !/^(F8_E4M3|I8)$/.test(weight.dtype))
        throw module.fail(
          `is packed as ${weight.dtype}, which is not read of Quark's; fp8, int8 and mxfp4 are: use the original weights`,
        );
      const zero = module.get('weight_zero_point');
      const name = `${module.name}.weight`;
      const made = isFour
        ? mxfp4Matrix(weight, scale, name)
        : zero && weight.dtype === 'I8'
          ? withZeroPoints(weight, scale, zero, name)
          : scaled(module, scale);
      return { tensors: [made], used: [...USED, ...ACTIVATIONS, ...QUARK_ACTIVATIONS] };
    },
  };
}

const QUARK_ACTIVATIONS = ['weight_zero_point', 'input_zero_point', 'output_scale', 'output_zero_point'];
