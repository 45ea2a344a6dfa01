/**
 * @file Files as memory. On Linux and macOS they are mapped: pages are read when they are touched, and are not counted twice where several
 * processes use one file. Elsewhere they are read into memory.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { WeightsError } from '../../util/errors.ts';
import type { Pointer } from './functions.ts';
import type { Ggml } from './ggml.ts';
import { NativeHandle } from './native.ts';

const LIBC: Readonly<Partial<Record<NodeJS.Platform, string>>> = { linux: 'libc.so.6', darwin: 'libSystem.B.dylib' };
const PROT_READ = 1;
const MAP_PRIVATE = 2;
/** Of madvise, the same on Linux and macOS. */
const ADVICE = { sequential: 2, willNeed: 3, dontNeed: 4 } as const;
const MAP_FAILED = 0xffffffffffffffffn;
const PAGE = 4096n;
/** How much is read at once where files are not mapped. */
const PIECE = 2 ** 26;

interface Libc {
  mmap(address: Pointer, length: number, protection: number, flags: number, file: number, offset: number): bigint;
  munmap(address: bigint, length: number): number;
  madvise(address: bigint, length: number, advice: number): number;
}

let libc: Libc | null | undefined;

function openLibc(ggml: Ggml): Libc | null {
  if (libc !== undefined) return libc;
  const name = LIBC[process.platform];
  if (!name) {
    libc = null;
    return libc;
  }
  const library = ggml.koffi.load(name);
  libc = {
    mmap: library.func('mmap', 'uintptr_t', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t']),
    munmap: library.func('munmap', 'int', ['uintptr_t', 'size_t']),
    madvise: library.func('madvise', 'int', ['uintptr_t', 'size_t', 'int']),
  } as unknown as Libc;
  return libc;
}

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

  /** Says that a part will be read from its beginning to its end soon. */
  willRead(offset: number, length: number): void {
    this.#advise(offset, length, ADVICE.willNeed);
  }

  /** Gives the memory of a part back. It can still be read: the pages come from the file again. */
  forget(offset: number, length: number): void {
    this.#advise(offset, length, ADVICE.dontNeed);
  }

  dispose(): void {
    this.#handle.dispose();
  }

  /** Advice is about whole pages: those at the ends, which others use too, are left out. */
  #advise(offset: number, length: number, advice: number): void {
    if (!this.#libc) return;
    const first = ((this.address + BigInt(offset) + PAGE - 1n) / PAGE) * PAGE;
    const end = ((this.address + BigInt(offset + length)) / PAGE) * PAGE;
    if (end > first) this.#libc.madvise(first, Number(end - first), advice);
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
