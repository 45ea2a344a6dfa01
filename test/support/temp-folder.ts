/**
 * @file Folders that are gone when the test is over.
 */
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** A new folder, removed after the tests of the file that asks for it. */
export async function tempFolder(name = 'test'): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), `keyhold-${name}-`)));
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
