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

/** The quantization that a model is taken in where nothing is asked for. */
const USUAL = 'Q4_K_M';

/**
 * The model of a quantization, such as `Q4_K_M`: all files of it, the first shard first.
 *
 * @param wanted a quantization, or the name of a file. @default Q4_K_M, or the only model there is
 * @returns nothing where no model, or more than one, is meant.
 */
export function ggufFiles(names: readonly string[], wanted?: string): readonly string[] {
  const models = ggufModels(names);
  const tag = (wanted ?? USUAL).replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const named = new RegExp(`(^|[-._/])${tag}(-\\d{5}-of-\\d{5})?\\.gguf$`, 'i');
  const found =
    wanted !== undefined && isGguf(wanted)
      ? names.filter((name) => name === wanted)
      : wanted === undefined && models.length === 1
        ? models
        : models.filter((name) => named.test(name));
  return found.length === 1 ? (shardNames(found[0]) ?? found) : [];
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
