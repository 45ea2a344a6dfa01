/**
 * @file The checksum by which the hub names the content of a file, computed while the bytes come.
 */
import type { HubFile } from '../hub/files.ts';
import { Sha256, type Sha256State } from '../util/sha256.ts';

export class ContentHash {
  readonly #file: Pick<HubFile, 'size' | 'etag'>;
  /** null: a small file, which is named as git names it. */
  readonly #hash: Sha256 | null;
  /** What git's name is computed of: it begins with the size, and browsers compute SHA-1 only at once. */
  readonly #pieces: Uint8Array[] = [];

  /** @param state goes on where another hash of the same file was. */
  constructor(file: Pick<HubFile, 'size' | 'etag'>, state?: Sha256State) {
    this.#file = file;
    this.#hash = file.etag.length === 64 ? (state ? Sha256.from(state) : new Sha256()) : null;
  }

  update(bytes: Uint8Array): void {
    if (this.#hash) this.#hash.update(bytes);
    else this.#pieces.push(bytes.slice());
  }

  /** null: this hash can't be continued. */
  get state(): Sha256State | null {
    return this.#hash?.state ?? null;
  }

  /** Whether the bytes are those of the file. Nothing can be added afterwards. */
  async matches(): Promise<boolean> {
    const { size, etag } = this.#file;
    if (this.#hash) return this.#hash.digest() === etag;
    const all = await new Blob([`blob ${size}\0`, ...(this.#pieces as Uint8Array<ArrayBuffer>[])]).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-1', all));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('') === etag;
  }
}
