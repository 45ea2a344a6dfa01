/**
 * @file What a device's memory holds: which parameters, and how many bytes are free.
 */
import { product } from '../../util/numbers.ts';
import type { StoredParam } from '../../weights/types.ts';
import type { Pointer } from './functions.ts';
import type { Ggml } from './ggml.ts';
import { TensorContext } from './tensor-context.ts';
import { GGML_TYPES, type GgmlType, rowBytes } from './types.ts';

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

/** Whether a parameter lies in the device's memory: where the device computes the product with it, and a buffer can be so long. */
export function fitsDevice(
  ggml: Ggml,
  device: Pointer,
  { dtype, shape }: StoredParam,
  use: { readonly as: 'plain' | 'matrix' | 'stack'; readonly experts?: number },
): boolean {
  const type = dtype as GgmlType;
  const count = product(shape);
  if (use.as === 'plain') return type === 'f32' && count <= MOST_PLAIN;
  const cols = shape[shape.length - 1];
  const rows = count / cols;
  const bytes = rows * rowBytes(type, cols);
  if (bytes > ggml.ggml_backend_buft_get_max_size(ggml.ggml_backend_dev_buffer_type(device))) return false;
  const context = new TensorContext(ggml, 4);
  const { pointer } = context;
  const f32 = GGML_TYPES.f32;
  const isStack = use.as === 'stack';
  const experts = use.experts ?? 1;
  const weights = isStack
    ? ggml.ggml_new_tensor_3d(pointer, GGML_TYPES[type], cols, rows / experts, experts)
    : ggml.ggml_new_tensor_2d(pointer, GGML_TYPES[type], cols, rows);
  const x = ggml.ggml_new_tensor_3d(pointer, f32, cols, 1, 1);
  const result = isStack
    ? ggml.ggml_mul_mat_id(pointer, weights, x, ggml.ggml_new_tensor_2d(pointer, GGML_TYPES.i32, 1, 1))
    : ggml.ggml_mul_mat(pointer, weights, x);
  const fits = ggml.ggml_backend_dev_supports_op(device, result);
  context.dispose();
  return fits;
}
