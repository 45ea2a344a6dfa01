/**
 * @file A copy of a GGUF file with more metadata and tensors, as other programs write them.
 */
import { readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { Bytes, putValue, type TestTensor, type TestValue } from './gguf-bytes.ts';
import { bytesSource } from './safetensors-bytes.ts';

export interface GgufChanges {
  /** Entries that the file has not. */
  readonly entries?: Readonly<Record<string, TestValue>>;
  /** Entries of other types, as they are in the file: keys, types and values behind each other. */
  readonly raw?: { readonly count: number; readonly bytes: Bytes };
  /** Tensors that the file has not. */
  readonly tensors?: Readonly<Record<string, TestTensor>>;
}

export async function changedGguf(
  file: Uint8Array,
  { entries = {}, raw, tensors = {} }: GgufChanges,
): Promise<Uint8Array> {
  const header = await readGgufHeader(bytesSource(file, 'to be changed'));
  const end = header.bytes.length;
  const data = file.subarray(Math.ceil(end / 32) * 32);
  const out = new Bytes().raw(file.subarray(0, 8)).u64(header.tensors.length + Object.keys(tensors).length);
  out.u64(header.metadata.size + Object.keys(entries).length + (raw?.count ?? 0));
  for (const [key, value] of Object.entries(entries)) putValue(out.text(key), value);
  if (raw) out.raw(raw.bytes.done());
  out.raw(file.subarray(24, end));
  let offset = Math.ceil(data.length / 32) * 32;
  for (const [name, { dims, type, bytes }] of Object.entries(tensors)) {
    out.text(name).u32(dims.length);
    for (const dim of dims) out.u64(dim);
    out.u32(type).u64(offset);
    offset += Math.ceil(bytes.length / 32) * 32;
  }
  out.pad(32).raw(data).pad(32);
  for (const { bytes } of Object.values(tensors)) out.raw(bytes).pad(32);
  return out.done();
}
