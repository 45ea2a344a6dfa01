/**
 * @file The user's home folder, and the folder of caches, which is in it by default.
 */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { InputError } from '../errors.ts';

/**
 * The home folder as an absolute path.
 * @throws InputError where there is none: HOME is empty, or it is not set and the user has no entry in the system's
 * list (a container with a user id of its own).
 */
export function homeFolder(): string {
  let found = '';
  let cause: unknown;
  try {
    found = homedir();
  } catch (error) {
    cause = error;
  }
  if (found !== '') return resolve(found);
  throw new InputError(
    'there is no home folder for downloads and prepared weights: set HOME, or KEYHOLD_CACHE and HF_HOME to folders of your choice',
    { cause },
  );
}

/** The folder of everything that is prepared or measured once. @default {@link defaultCacheDir} */
export const cacheFolder = (cacheDir?: string): string => (cacheDir ? resolve(cacheDir) : defaultCacheDir());

/**
 * The folder of prepared weights and of everything else that Keyhold makes of checkpoints.
 * @throws InputError where the environment names none and there is no home folder.
 */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.KEYHOLD_CACHE) return resolve(env.KEYHOLD_CACHE);
  return join(env.XDG_CACHE_HOME ? resolve(env.XDG_CACHE_HOME) : join(homeFolder(), '.cache'), 'keyhold');
}
