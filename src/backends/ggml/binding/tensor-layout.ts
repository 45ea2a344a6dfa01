/**
 * @file Where the fields of `struct ggml_tensor` are. Contexts lie in memory of ours, so fields are read and written
 * there without calls.
 */
import { EngineError } from '../../../util/errors.ts';
import type { Ggml } from './ggml.ts';

/** Byte offsets in the struct, on platforms with pointers of 8 bytes. */
export const TENSOR = {
  type: 0,
  buffer: 8,
  shape: 16,
  strides: 48,
  operator: 80,
  sources: 152,
  viewSource: 232,
  viewOffset: 240,
  data: 248,
  extra: 320,
} as const;

/**
 * Compares {@link TENSOR} with what ggml writes.
 * @throws EngineError where the struct is laid out otherwise.
 */
export function checkTensorLayout(ggml: Ggml): void {
  const memory = new ArrayBuffer(16384);
  const context = ggml.ggml_init({ mem_size: memory.byteLength, mem_buffer: new Uint8Array(memory), no_alloc: true });
  const start = ggml.addressOf(new Uint8Array(memory));
  const fields = new DataView(memory);
  const tensor = ggml.ggml_new_tensor_3d(context, 1, 5, 6, 7);
  const view = ggml.ggml_view_1d(context, tensor, 3, 22);
  const shaped = ggml.ggml_reshape_4d(context, tensor, 7, 6, 5, 1);
  const target = new Float32Array(512);
  const address = ggml.addressOf(target);
  ggml.ggml_backend_tensor_alloc(ggml.hostBuffer, tensor, address);
  const at = Number(BigInt(tensor!) - start);
  const viewAt = Number(BigInt(view!) - start);
  const shapedAt = Number(BigInt(shaped!) - start);
  const read = (offset: number): bigint => fields.getBigUint64(offset, true);
  const right =
    fields.getInt32(at + TENSOR.type, true) === 1 &&
    read(at + TENSOR.buffer) === ggml.hostBuffer &&
    [5n, 6n, 7n, 1n].every((length, i) => read(at + TENSOR.shape + 8 * i) === length) &&
    [2n, 10n, 60n, 420n].every((stride, i) => read(at + TENSOR.strides + 8 * i) === stride) &&
    read(at + TENSOR.data) === address &&
    read(viewAt + TENSOR.viewSource) === tensor &&
    read(viewAt + TENSOR.viewOffset) === 22n &&
    fields.getInt32(at + TENSOR.operator, true) === 0 &&
    fields.getInt32(shapedAt + TENSOR.operator, true) > 0 &&
    read(shapedAt + TENSOR.sources) === tensor &&
    read(shapedAt + TENSOR.viewSource) === tensor;
  ggml.ggml_free(context);
  if (!right) throw new EngineError(`${ggml.files.base}: the tensors of this build are laid out in another way`);
}
