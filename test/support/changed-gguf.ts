/**
 * @file Copies of GGUF files: with more metadata and tensors, as other programs write them, with vectors in float16, or
 * in shards.
 */
import { type GgufHeader, readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { storedTensor } from '../../src/checkpoint/gguf/tensors.ts';
import { narrow } from '../../src/util/half.ts';
import { Bytes, ggufStart, putValue, type TestTensor, type TestValue } from './gguf-bytes.ts';
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

/** Bytes of the header that are metadata. */
export function metadataOf({ bytes, tensors }: GgufHeader): Uint8Array {
  const infos = tensors.reduce((sum, { name, shape }) => sum + 24 + Buffer.byteLength(name) + 8 * shape.length, 0);
  return bytes.subarray(24, bytes.length - infos);
}

interface NewTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: number;
  readonly bytes: Uint8Array;
}

export function fileOf(entries: Bytes, count: number, tensors: readonly NewTensor[], version = 3): Uint8Array {
  const out = ggufStart(tensors.length, count, version).raw(entries.done());
  let offset = 0;
  for (const { name, shape, type, bytes } of tensors) {
    out.text(name).u32(shape.length);
    for (const dim of [...shape].reverse()) out.u64(dim);
    out.u32(type).u64(offset);
    offset += Math.ceil(bytes.length / 32) * 32;
  }
  out.pad(32);
  for (const { bytes } of tensors) out.raw(bytes).pad(32);
  return out.done();
}

const tensorsOf = (file: Uint8Array, { tensors }: GgufHeader): NewTensor[] =>
  tensors.map(({ name, shape, type, offset, bytes }) => ({
    ...{ name, shape, type: type.number },
    bytes: file.subarray(offset, offset + bytes),
  }));

/** The same with vectors, such as norms, in float16, without some tensors, and in another version of the format. */
export async function rewrittenGguf(
  file: Uint8Array,
  { without, version }: { readonly without?: RegExp; readonly version?: number } = {},
): Promise<Uint8Array> {
  const header = await readGgufHeader(bytesSource(file, 'to be rewritten'));
  const tensors = tensorsOf(file, header).flatMap((tensor) => {
    if (without?.test(tensor.name)) return [];
    if (tensor.shape.length > 1) return [tensor];
    const values = new Float32Array(tensor.bytes.slice().buffer);
    return [{ ...tensor, type: 1, bytes: narrow(values, 'F16') }];
  });
  return fileOf(new Bytes().raw(metadataOf(header)), header.metadata.size, tensors, version);
}

/** The same with the values of all tensors in float32. */
export async function floatGguf(file: Uint8Array): Promise<Uint8Array> {
  const source = bytesSource(file, 'to be widened');
  const header = await readGgufHeader(source);
  const tensors: NewTensor[] = [];
  for (const info of header.tensors) {
    const values = await storedTensor(source, info).readFloats(
      0,
      info.shape.reduce((a, b) => a * b, 1),
    );
    tensors.push({ ...info, type: 0, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) });
  }
  return fileOf(new Bytes().raw(metadataOf(header)), header.metadata.size, tensors);
}

/** The file as that many shards, which say so by these entries. */
export async function shardsOf(
  file: Uint8Array,
  count: number,
  stated: (index: number, tensors: number) => Readonly<Record<string, number>>,
): Promise<Uint8Array[]> {
  const header = await readGgufHeader(bytesSource(file, 'to be split'));
  const tensors = tensorsOf(file, header);
  return Array.from({ length: count }, (_, i) => {
    const own = stated(i, tensors.length);
    const entries = new Bytes();
    for (const [key, value] of Object.entries(own)) putValue(entries.text(key), value);
    if (i === 0) entries.raw(metadataOf(header));
    const keys = Object.keys(own).length + (i === 0 ? header.metadata.size : 0);
    return fileOf(
      entries,
      keys,
      tensors.filter((_, j) => j % count === i),
    );
  });
}
