/**
 * @file Saved caches as files.
 */
import { readFile } from 'node:fs/promises';
import type { PolicyChoice, PolicyEntry } from '../kvcache/policy/policy.ts';
import { checkPath } from '../util/arguments.ts';
import { SnapshotError } from '../util/errors.ts';
import { writeWhole } from '../util/files/files-node.ts';
import { checkTextModel, type TextCache, type TextModel } from './text-model.ts';

/**
 * Saves a cache, so that {@link loadCache} can go on with it. The file is written beside its place and renamed when it
 * is whole: a crash leaves the old file or the new one.
 * @throws SnapshotError where the file can't be written; InputError for what is no path.
 * @example
 * ```ts
 * import { loadCache, loadModel, saveCache } from 'keyhold';
 *
 * const model = await loadModel();
 * const cache = model.createCache({ policy: 'lastrec', cacheLength: 128 });
 * await model.generate('And it came to pass', { cache, maxNewTokens: 20 }).text();
 * await saveCache(model, cache, 'story.cache');
 * const same = await loadCache(model, 'story.cache');
 * console.log(await model.generate(' And', { cache: same, maxNewTokens: 20 }).text());
 * await model.dispose();
 * ```
 */
export async function saveCache<C extends TextCache>(model: TextModel<C>, cache: C, path: string): Promise<void> {
  checkTextModel('saveCache', model);
  checkPath('saveCache', path);
  const bytes = await model.snapshot(cache);
  try {
    await writeWhole(path, bytes);
  } catch (cause) {
    throw new SnapshotError(`${path}: the cache can't be saved: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Opens a cache that {@link saveCache} saved, for the same model.
 * @param policy the policy of a cache that was made with a policy of your own.
 * @throws SnapshotError for a file that is missing, torn, or of something else; it names the file. InputError for what
 * is no path.
 */
export async function loadCache<C extends TextCache>(
  model: TextModel<C>,
  path: string,
  policy?: PolicyEntry | PolicyChoice,
): Promise<C> {
  checkTextModel('loadCache', model);
  checkPath('loadCache', path);
  try {
    return await model.restore(await readFile(path), { policy, transfer: true });
  } catch (cause) {
    throw new SnapshotError(`${path}: ${(cause as Error).message}`, { cause });
  }
}
