/**
 * @file Writes a file in large pieces at multiples of their size. Linux keeps what one write covers in pages as large
 * as that allows, also when the file is mapped later: a processor looks up one address instead of 512 for 2 MB.
 */
import type { FileHandle } from 'node:fs/promises';
import { writeAt } from '../../util/files/files-node.ts';

/**
 * A multiple of a large page. New memory takes a millisecond a megabyte, so small files are written in one large page
 * after the other.
 */
const PIECE = 2 ** 23;
const SMALL_PIECE = 2 ** 21;
const SMALL_FILE = 2 ** 26;

export class AlignedWriter {
  readonly #file: FileHandle;
  readonly #piece: Uint8Array;
  /** What the piece holds: bytes of the file from here on. */
  #start = 0;
  #length = 0;

  constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.#piece = new Uint8Array(Math.min(size < SMALL_FILE ? SMALL_PIECE : PIECE, size));
  }

  /**
   * Takes bytes at an offset. A gap of less than a page is written as zeros; what does not follow on is a piece of its
   * own.
   */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    const gap = offset - (this.#start + this.#length);
    if (gap < 0 || gap >= 4096) {
      await this.flush();
      this.#start = offset;
    } else if (gap > 0) await this.#append(new Uint8Array(gap));
    await this.#append(bytes);
  }

  /** Writes what was taken. */
  async flush(): Promise<void> {
    await writeAt(this.#file, this.#piece.subarray(0, this.#length), this.#start);
    this.#start += this.#length;
    this.#length = 0;
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.byteLength; ) {
      const left = this.#piece.byteLength - ((this.#start + this.#length) % this.#piece.byteLength);
      const some = bytes.subarray(done, done + left);
      this.#piece.set(some, this.#length);
      this.#length += some.byteLength;
      done += some.byteLength;
      if (some.byteLength === left) await this.flush();
    }
  }
}
