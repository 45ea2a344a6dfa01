/**
 * @file The parts of a weight file that are read when a checkpoint is opened: its header, and the samples that identify
 * it. They are kept without the file.
 */
import { CheckpointError } from '../util/errors.ts';

const keyOf = (offset: number, length: number): string => `${offset}+${length}`;

/** Ranges of a file by `offset+length`. */
export class Outline {
  readonly #ranges = new Map<string, Uint8Array>();
  /** Whether something was added since it was read or saved. */
  #isChanged = false;

  get(offset: number, length: number): Uint8Array | undefined {
    return this.#ranges.get(keyOf(offset, length));
  }

  set(offset: number, bytes: Uint8Array): void {
    this.#ranges.set(keyOf(offset, bytes.length), bytes.slice());
    this.#isChanged = true;
  }

  /** Writes it where something was added. What comes while it is written is written the next time. */
  async save(write: (bytes: Uint8Array) => Promise<void>): Promise<void> {
    if (!this.#isChanged) return;
    this.#isChanged = false;
    try {
      await write(this.toBytes());
    } catch (error) {
      this.#isChanged = true;
      throw error;
    }
  }

  /** A line of JSON that says which ranges there are, and their bytes. */
  toBytes(): Uint8Array {
    const head = new TextEncoder().encode(`${JSON.stringify([...this.#ranges.keys()])}\n`);
    const parts = [head, ...this.#ranges.values()];
    const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  /** @throws CheckpointError for bytes that are torn. */
  static fromBytes(bytes: Uint8Array): Outline {
    const outline = new Outline();
    const end = bytes.indexOf(10);
    try {
      let at = end + 1;
      for (const key of JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as string[]) {
        const length = Number(key.split('+')[1]);
        if (at + length > bytes.length) throw new Error('it ends early');
        outline.#ranges.set(key, bytes.subarray(at, at + length));
        at += length;
      }
    } catch (cause) {
      throw new CheckpointError('the outline of a stored model is damaged', { cause });
    }
    return outline;
  }
}
