/**
 * @file The user's home folder, in which caches are by default.
 */
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { InputError } from './errors.ts';

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
