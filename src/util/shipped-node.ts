/**
 * @file The model and the adapter that are part of the package.
 */
import { fileURLToPath } from 'node:url';

/** The name of the small model that ships with Keyhold: a Llama of 5.3M parameters. */
export const TINY_MODEL = 'keyhold/tiny';
/** The name of the adapter that ships with Keyhold: a LoRA for {@link TINY_MODEL}. */
export const TINY_ADAPTER = 'keyhold/tiny-jargon';

/** The folder of a name that ships with the package; undefined for every other name. */
export function shippedFolder(name: string): string | undefined {
  if (name !== TINY_MODEL && name !== TINY_ADAPTER) return undefined;
  return fileURLToPath(new URL(`../../models/${name.slice('keyhold/'.length)}`, import.meta.url));
}
