/**
 * @file Text files that a command is given.
 */
import { readFile } from 'node:fs/promises';
import { whyUnread } from '../../checkpoint/file-source-node.ts';
import { UsageError } from '../failure.ts';

/**
 * The text of a file, without the byte order mark that editors on Windows write.
 * @throws what the file system refuses, and an error for what is no UTF-8; callers say which option named the file.
 */
export async function readTextFile(path: string): Promise<string> {
  return utf8Text(await readFile(path));
}

/**
 * As {@link readTextFile}.
 * @param name what the message calls the file, such as `--template FILE`.
 * @throws UsageError says why it can't be read.
 */
export async function readGivenFile(path: string, name = path): Promise<string> {
  try {
    return await readTextFile(path);
  } catch (cause) {
    throw new UsageError(`${name} ${whyUnread(cause)}`, { cause });
  }
}

/** As {@link readGivenFile}, for a file of JSON. @throws UsageError for what is none, too. */
export async function readGivenJson(path: string, name = path): Promise<unknown> {
  const text = await readGivenFile(path, name);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`${name} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** @throws Error for what is no UTF-8. */
export function utf8Text(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error('it is not UTF-8 text; save it as UTF-8', { cause });
  }
}
