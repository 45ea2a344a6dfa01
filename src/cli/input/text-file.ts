/**
 * @file Text files that a command is given.
 */
import { readFile } from 'node:fs/promises';

/**
 * The text of a file, without the byte order mark that editors on Windows write.
 * @throws what the file system refuses, and an error for what is no UTF-8; callers say which option named the file.
 */
export async function readTextFile(path: string): Promise<string> {
  return utf8Text(await readFile(path));
}

/** @throws Error for what is no UTF-8. */
export function utf8Text(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error('it is not UTF-8 text; save it as UTF-8', { cause });
  }
}
