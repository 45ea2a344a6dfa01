/**
 * @file GGUF files made for tests, valid or not.
 */

/** Numbers and texts behind each other, little-endian. */
export class Bytes {
  readonly #parts: Uint8Array[] = [];

  u8(value: number): this {
    return this.raw(Uint8Array.of(value));
  }

  u32(value: number): this {
    return this.raw(new Uint8Array(Uint32Array.of(value).buffer));
  }

  f32(value: number): this {
    return this.raw(new Uint8Array(Float32Array.of(value).buffer));
  }

  u64(value: number | bigint): this {
    return this.raw(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.length).raw(bytes);
  }

  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    return this;
  }

  pad(alignment: number): this {
    return this.raw(new Uint8Array((alignment - (this.length % alignment)) % alignment));
  }

  get length(): number {
    return this.#parts.reduce((sum, part) => sum + part.length, 0);
  }

  done(): Uint8Array {
    const out = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

/** The beginning of a file: magic, version, counts. */
export const ggufStart = (tensors: number | bigint, entries: number | bigint, version = 3): Bytes =>
  new Bytes().raw(new TextEncoder().encode('GGUF')).u32(version).u64(tensors).u64(entries);

/** Values of metadata: numbers are u32 where they are whole, f32 otherwise. */
export type TestValue = number | string | boolean | readonly string[] | readonly number[];

export interface TestTensor {
  /** As in the file: the fastest axis first. */
  readonly dims: readonly number[];
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** A valid file. */
export function ggufFile(
  metadata: Readonly<Record<string, TestValue>>,
  tensors: Readonly<Record<string, TestTensor>> = {},
): Uint8Array {
  const file = ggufStart(Object.keys(tensors).length, Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) putValue(file.text(key), value);
  let offset = 0;
  for (const [name, { dims, type, bytes }] of Object.entries(tensors)) {
    file.text(name).u32(dims.length);
    for (const dim of dims) file.u64(dim);
    file.u32(type).u64(offset);
    offset += Math.ceil(bytes.length / 32) * 32;
  }
  file.pad(32);
  for (const { bytes } of Object.values(tensors)) file.raw(bytes).pad(32);
  return file.done();
}

export function putValue(file: Bytes, value: TestValue): void {
  if (typeof value === 'string') file.u32(8).text(value);
  else if (typeof value === 'boolean') file.u32(7).u8(value ? 1 : 0);
  else if (typeof value === 'number') Number.isInteger(value) ? file.u32(4).u32(value) : file.u32(6).f32(value);
  else {
    file
      .u32(9)
      .u32(typeof value[0] === 'number' ? 6 : 8)
      .u64(value.length);
    for (const item of value) typeof item === 'number' ? file.f32(item) : file.text(item);
  }
}

/** A float32 tensor; `dims` as in the file. */
export function f32Tensor(dims: readonly number[], values: readonly number[]): TestTensor {
  return { dims, type: 0, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}
