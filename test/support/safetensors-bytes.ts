/**
 * @file Safetensors files made for tests, valid or not.
 */
import type { ByteSource, StoredDtype } from '../../src/checkpoint/types.ts';

/** A tensor to be written: its type, shape and bytes. */
export interface TestTensor {
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A file with this header (text, or a value to be stringified) and these bytes after it. */
export function rawSafetensors(header: unknown, data: Uint8Array = new Uint8Array()): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}

/** A valid file. */
export function safetensorsFile(tensors: Record<string, TestTensor>): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  const data = new Uint8Array(end);
  let at = 0;
  for (const { bytes } of Object.values(tensors)) {
    data.set(bytes, at);
    at += bytes.length;
  }
  return rawSafetensors(header, data);
}

/** A float32 tensor. */
export function f32(shape: readonly number[], values: readonly number[]): TestTensor {
  return { dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

/** A source over bytes that counts what is read. */
export function bytesSource(bytes: Uint8Array, name = 'test.safetensors'): ByteSource & { bytesRead: number } {
  return {
    name,
    size: bytes.length,
    bytesRead: 0,
    async read(offset, length) {
      if (offset + length > bytes.length) throw new Error(`read of ${length} at ${offset} is out of bounds`);
      this.bytesRead += length;
      return bytes.slice(offset, offset + length);
    },
    async close() {},
  };
}
