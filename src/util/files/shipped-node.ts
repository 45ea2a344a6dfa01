/**
 * @file Files of the package: the model and the adapter that are part of it, and others beside the code.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The name of the small model that ships with Keyhold: a Llama of 5.3M parameters. */
export const TINY_MODEL = 'keyhold/tiny';
/** The name of the adapter that ships with Keyhold: a LoRA for {@link TINY_MODEL}. */
export const TINY_ADAPTER = 'keyhold/tiny-jargon';

/** The folder of a name that ships with the package; undefined for every other name. */
export function shippedFolder(name: string): string | undefined {
  if (name !== TINY_MODEL && name !== TINY_ADAPTER) return undefined;
  return packageFile(`models/${name.slice('keyhold/'.length)}`);
}

/** The absolute path of a file of the package. */
export function packageFile(path: string): string {
  return join(packageFolder(), path);
}

/** The nearest folder with a package.json above this module, which bundles hold in another folder than the sources. */
function packageFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}
