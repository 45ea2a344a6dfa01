/**
 * @file Whether there is a libllama to compare with.
 */
import { findLibraries } from '../../src/backends/ggml/binding/platform.ts';

/**
 * Whether the package of the ggml engine, which has libllama, is installed. Where it is not, says that tests are
 * skipped.
 */
export function hasLlama(): boolean {
  let isThere = false;
  try {
    isThere = findLibraries().llama !== null;
  } catch {
    // The package is not there.
  }
  if (!isThere) console.warn('skipped: the package of the ggml engine, which has libllama, is not installed');
  return isThere;
}
