/**
 * @file What a user without rights may not do, also where the tests are run by one with all rights.
 */
import { chmod } from 'node:fs/promises';

const NOBODY = 65_534;

/**
 * Runs a function as a user who owns nothing, where the tests run as root; as who they run otherwise. It must not load
 * any code for the first time, which that user may not read.
 */
export async function asNobody<T>(run: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return run();
  const group = process.getegid!();
  process.setegid!(NOBODY);
  process.seteuid!(NOBODY);
  try {
    return await run();
  } finally {
    process.seteuid!(0);
    process.setegid!(group);
  }
}

/** Makes a folder passable for everybody, so that only what lies in it decides. */
export async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
}
