/**
 * @file Names of GGUF files, and which of a folder's is meant.
 */
import { CheckpointError } from '../../util/errors.ts';

/** More than any model has; each shard is an open file. */
const MAX_SHARDS = 1000;

export const isGguf = (name: string): boolean => name.toLowerCase().endsWith('.gguf');

/** The names of all shards of the file that `name` is one of; null for a file of its own. */
export function shardNames(name: string): string[] | null {
  const match = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/i.exec(name);
  if (!match) return null;
  const [, stem, , total, ending] = match;
  const count = Number(total);
  if (count < 2 || count > MAX_SHARDS) return null;
  return Array.from({ length: count }, (_, i) => `${stem}-${String(i + 1).padStart(5, '0')}-of-${total}${ending}`);
}

/** Files that are no language model by themselves: image projectors, importance matrices. */
const NO_MODEL = /(^|[-_.])(mmproj|imatrix)([-_.]|$)/i;

/** The models among a folder's files: those in shards by their first. */
export function ggufModels(names: readonly string[]): string[] {
  const models = names.filter((name) => isGguf(name) && !NO_MODEL.test(name));
  return models.filter((name) => (shardNames(name)?.[0] ?? name) === name).sort();
}

/**
 * The GGUF file of a folder; undefined where it holds none, or holds safetensors, too.
 * @throws CheckpointError where there are several.
 */
export function pickGguf(names: readonly string[], where: string): string | undefined {
  if (names.some((name) => name.endsWith('.safetensors'))) return undefined;
  const models = ggufModels(names);
  if (models.length > 1)
    throw new CheckpointError(
      `${where}: holds ${models.length} GGUF models (${models.slice(0, 4).join(', ')}${models.length > 4 ? ', …' : ''}). ` +
        'Name one of them.',
    );
  return models[0];
}
