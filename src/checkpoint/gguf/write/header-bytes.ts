/**
 * @file The bytes of a GGUF header: metadata, and where each tensor will lie.
 */
import { product } from '../../../util/numbers.ts';
import type { TensorType } from '../blocks/block-formats.ts';

/** A value of the metadata with its type. */
export type Entry =
  | { readonly type: 'u32' | 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'text'; readonly value: string }
  | { readonly type: 'texts'; readonly value: readonly string[] }
  | { readonly type: 'f32s' | 'i32s'; readonly value: readonly number[] }
  | { readonly type: 'bools'; readonly value: readonly boolean[] };

export interface TensorEntry {
  readonly name: string;
  /** The slowest axis first. */
  readonly shape: readonly number[];
  readonly type: TensorType;
}

/** What GGUF aligns tensors to. */
const ALIGNMENT = 32;
const VERSION = 3;
const TYPE_NUMBERS = { u32: 4, i32: 5, f32: 6, bool: 7, text: 8, array: 9 } as const;

export const tensorBytes = ({ shape, type }: TensorEntry): number =>
  (product(shape) / type.blockLength) * type.blockBytes;

export const padded = (length: number): number => Math.ceil(length / ALIGNMENT) * ALIGNMENT;

/**
 * The header, filled up to where the first tensor begins. Tensors follow each other in this order, each {@link padded}.
 */
export function headerBytes(metadata: ReadonlyMap<string, Entry>, tensors: readonly TensorEntry[]): Uint8Array {
  const out = new Output();
  out.raw(new TextEncoder().encode('GGUF'));
  out.u32(VERSION);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, entry] of metadata) {
    out.text(key);
    putEntry(out, entry);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name);
    out.u32(tensor.shape.length);
    for (const length of [...tensor.shape].reverse()) out.u64(length);
    out.u32(tensor.type.number);
    out.u64(offset);
    offset += padded(tensorBytes(tensor));
  }
  out.raw(new Uint8Array(padded(out.length) - out.length));
  return out.bytes();
}

function putEntry(out: Output, { type, value }: Entry): void {
  const list = type.endsWith('s');
  const element = (list ? type.slice(0, -1) : type) as keyof typeof TYPE_NUMBERS;
  if (list) out.u32(TYPE_NUMBERS.array);
  out.u32(TYPE_NUMBERS[element]);
  const values: readonly (number | string | boolean)[] = Array.isArray(value) ? value : [value];
  if (list) out.u64(values.length);
  for (const item of values)
    if (typeof item === 'string') out.text(item);
    else if (typeof item === 'boolean') out.raw(Uint8Array.of(item ? 1 : 0));
    else if (element === 'f32') out.f32(item);
    else out.u32(item);
}

/** Bytes that grow. */
class Output {
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  u32(value: number): void {
    const at = this.#grow(4); // before the view is looked at: growing replaces it
    this.#view.setUint32(at, value, true);
  }

  f32(value: number): void {
    const at = this.#grow(4); // before the view is looked at: growing replaces it
    this.#view.setFloat32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    this.raw(bytes);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  #grow(more: number): number {
    const at = this.length;
    this.length += more;
    if (this.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}
