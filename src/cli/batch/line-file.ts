/**
 * @file A file of results, one a line (JSON Lines), that a killed process leaves in a state to go on from.
 */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { InputError } from '../../util/errors.ts';

/** Results are appended whole, each with its line end. */
export class LineFile {
  readonly #file: FileHandle;
  readonly #name: string;

  private constructor(file: FileHandle, name: string) {
    this.#file = file;
    this.#name = name;
  }

  /**
   * Opens a file for more lines. A last line that is torn, because a process was killed while it wrote, is taken away.
   * @param check called once with the lines that are there; what it throws closes the file.
   * @param name what messages call the file.
   * @throws what the file system refuses.
   */
  static async open(path: string, check: (lines: readonly string[]) => void, name = path): Promise<LineFile> {
    const file = await open(path, 'a+');
    try {
      // A device may have no end, and a pipe gives nothing.
      const bytes = (await file.stat()).isFile() ? await readFile(path) : Buffer.alloc(0);
      const whole = bytes.lastIndexOf(10) + 1;
      const lines = bytes.subarray(0, whole).toString().split('\n').slice(0, -1);
      const last = bytes.subarray(whole).toString();
      // What lacks only its line end is whole.
      const lacksEnd = last !== '' && isWhole(last);
      check(lacksEnd ? [...lines, last] : lines);
      if (lacksEnd) await file.appendFile('\n');
      else if (last !== '') await file.truncate(whole);
      return new LineFile(file, name);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** @throws InputError where the disk refuses it; what was appended before stays. */
  async append(value: unknown): Promise<void> {
    try {
      await this.#file.appendFile(`${JSON.stringify(value)}\n`);
    } catch (cause) {
      throw notWritten(this.#name, cause);
    }
  }

  /** Waits until the lines are on the disk. */
  sync(): Promise<void> {
    return this.#file.sync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

export const notWritten = (name: string, cause: unknown): InputError =>
  new InputError(`${name} can't be written: ${(cause as Error).message}`, { cause });

function isWhole(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}
