/**
 * @file Files as memory. On Linux and macOS they are mapped: pages are read when they are touched, and are not counted
 * twice where several processes use one file. Elsewhere they are read into memory.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { WeightsError } from '../../../util/errors.ts';
import type { Ggml } from '../binding/ggml.ts';
import { ADVICE, advise, type Libc, openLibc } from '../binding/libc.ts';
import { NativeHandle } from '../binding/native.ts';

const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 0xffffffffffffffffn;
/** How much is read at once where files are not mapped. */
const PIECE = 2 ** 26;

export class MappedFile {
  readonly address: bigint;
  readonly size: number;
  readonly #handle: NativeHandle;
  readonly #libc: Libc | null;

  /** @throws WeightsError for an empty file, or where the system refuses. */
  constructor(ggml: Ggml, path: string) {
    const file = openSync(path, 'r');
    try {
      this.size = fstatSync(file).size;
      if (this.size === 0) throw new WeightsError(`${path} is empty`);
      this.#libc = openLibc(ggml);
      [this.address, this.#handle] = this.#libc
        ? map(this.#libc, file, this.size, path)
        : read(ggml, file, this.size, path);
    } finally {
      closeSync(file);
    }
  }

  /** Gives the memory of a part back. It can still be read: the pages come from the file again. */
  forget(offset: number, length: number): void {
    this.#advise(offset, length, ADVICE.dontNeed);
  }

  dispose(): void {
    this.#handle.dispose();
  }

  #advise(offset: number, length: number, advice: number): void {
    if (this.#libc) advise(this.#libc, this.address + BigInt(offset), length, advice);
  }
}

function map(libc: Libc, file: number, size: number, path: string): [bigint, NativeHandle] {
  const address = BigInt(libc.mmap(null, size, PROT_READ, MAP_PRIVATE, file, 0));
  if (address === MAP_FAILED || address === 0n)
    throw new WeightsError(`${path} can't be mapped into memory (${size} bytes)`);
  return [address, new NativeHandle('mapping', () => libc.munmap(address, size))];
}

function read(ggml: Ggml, file: number, size: number, path: string): [bigint, NativeHandle] {
  let memory: Uint8Array;
  try {
    memory = new Uint8Array(size);
  } catch (cause) {
    throw new WeightsError(`${path}: there is no memory for its ${size} bytes`, { cause });
  }
  for (let at = 0; at < size; ) {
    const count = readSync(file, memory, at, Math.min(PIECE, size - at), at);
    if (count === 0) throw new WeightsError(`${path} ends after ${at} of ${size} bytes`);
    at += count;
  }
  const kept: { memory: Uint8Array | null } = { memory };
  return [
    ggml.addressOf(memory),
    new NativeHandle('mapping', () => {
      kept.memory = null;
    }),
  ];
}
