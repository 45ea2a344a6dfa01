/**
 * @file Functions of the C library: memory, on Linux and macOS, and variables of the environment.
 */
import type { Pointer } from './functions.ts';
import type { Ggml } from './ggml.ts';

const NAMES: Readonly<Partial<Record<NodeJS.Platform, string>>> = { linux: 'libc.so.6', darwin: 'libSystem.B.dylib' };
/** Of madvise. The first two are the same on Linux and macOS, the last is Linux's. */
export const ADVICE = { dontNeed: 4, largePages: 14 } as const;
const PAGE = 4096n;
/** A large page on x86 and ARM. Smaller memory has none. */
const LARGE_PAGE = 2 ** 21;

export interface Libc {
  mmap(address: Pointer, length: number, protection: number, flags: number, file: number, offset: number): bigint;
  munmap(address: bigint, length: number): number;
  madvise(address: bigint, length: number, advice: number): number;
  /** glibc's: gives memory that was freed back to the system. */
  malloc_trim?(pad: number): number;
}

let libc: Libc | null | undefined;

/** null: the platform has none of these functions. */
export function openLibc(ggml: Ggml): Libc | null {
  if (libc !== undefined) return libc;
  const name = NAMES[process.platform];
  if (!name) {
    libc = null;
    return libc;
  }
  const library = ggml.koffi.load(name);
  const trim = process.platform === 'linux' ? { malloc_trim: library.func('malloc_trim', 'int', ['size_t']) } : {};
  libc = {
    ...trim,
    mmap: library.func('mmap', 'uintptr_t', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t']),
    munmap: library.func('munmap', 'int', ['uintptr_t', 'size_t']),
    madvise: library.func('madvise', 'int', ['uintptr_t', 'size_t', 'int']),
  } as unknown as Libc;
  return libc;
}

/** Gives advice about the whole pages of a part of memory: those at the ends, which others use too, are left out. */
export function advise(libc: Libc, address: bigint, length: number, advice: number): void {
  const first = ((address + PAGE - 1n) / PAGE) * PAGE;
  const end = ((address + BigInt(length)) / PAGE) * PAGE;
  if (end > first) libc.madvise(first, Number(end - first), advice);
}

/**
 * Asks for pages of 2 MB, on Linux, for memory that was not touched yet. A token reads all weights: with pages of 4 KB
 * the processor looks up 250 addresses a megabyte, which took a tenth of a step of a 135M model.
 */
export function useLargePages(ggml: Ggml, address: Pointer, length: number): void {
  if (process.platform !== 'linux' || !address || length < LARGE_PAGE) return;
  const library = openLibc(ggml);
  if (library) advise(library, address, length, ADVICE.largePages);
}

/** Gives freed memory back. glibc keeps up to 32 MB of each block for later. */
export function returnMemory(ggml: Ggml): void {
  openLibc(ggml)?.malloc_trim?.(0);
}

/**
 * Sets a variable of the environment for native libraries. `process.env` of a worker is a copy that they do not see,
 * and on Windows they read the C library's copy.
 */
export function setVariable(ggml: Ggml, name: string, value: string): void {
  const isWindows = process.platform === 'win32';
  const library = ggml.koffi.load(isWindows ? 'ucrtbase.dll' : NAMES[process.platform]!);
  if (isWindows) library.func('_putenv_s', 'int', ['const char *', 'const char *'])(name, value);
  else library.func('setenv', 'int', ['const char *', 'const char *', 'int'])(name, value, 1);
}
