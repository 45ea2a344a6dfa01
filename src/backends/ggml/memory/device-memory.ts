/**
 * @file What a device's memory holds: which parameters, and how many bytes are free.
 */
import { product } from '../../../util/numbers.ts';
import type { StoredParam } from '../../../weights/types.ts';
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { rowBytes } from '../binding/types.ts';
import { askProduct, type MatrixShape } from './fast-buffers.ts';

/** Numbers of norms and biases. Tables above it are read row by row: they stay in the file, and the CPU reads them. */
const MOST_PLAIN = 1 << 18;

export interface DeviceMemory {
  readonly free: number;
  readonly total: number;
}

export function deviceMemory(ggml: Ggml, device: Pointer): DeviceMemory {
  const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
  ggml.ggml_backend_dev_memory(device, free, total);
  return { free: Number(free[0]), total: Number(total[0]) };
}

/** Whether a parameter that is read as it is (a norm, a bias) lies in the device's memory. */
export function fitsPlain({ dtype, shape }: StoredParam): boolean {
  return dtype === 'f32' && product(shape) <= MOST_PLAIN;
}

/**
 * Whether a matrix lies in the device's memory: where the device computes the product with it, and a buffer can be so
 * long.
 */
export function fitsDevice(ggml: Ggml, device: Pointer, matrix: MatrixShape): boolean {
  const bytes = matrix.rows * (matrix.experts ?? 1) * rowBytes(matrix.type, matrix.cols);
  if (bytes > ggml.ggml_backend_buft_get_max_size(ggml.ggml_backend_dev_buffer_type(device))) return false;
  return askProduct(ggml, matrix, (result) => ggml.ggml_backend_dev_supports_op(device, result));
}
