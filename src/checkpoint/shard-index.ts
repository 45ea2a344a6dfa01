/**
 * @file `model.safetensors.index.json`: which shard holds which tensor.
 */
import { CheckpointError } from '../util/errors.ts';
import { findJsonFlaw } from '../util/json-keys.ts';
import { pathFlaw } from '../util/relative-path.ts';

/** The name under which Hugging Face libraries store the index. */
export const SHARD_INDEX_FILE = 'model.safetensors.index.json';

/** More than any checkpoint has; each shard is an open file. */
const MAX_SHARDS = 10_000;

/**
 * Reads an index: tensor name → file name of its shard.
 *
 * @param where - Where the text is from, for messages.
 * @throws CheckpointError where it is not valid, or names a file outside of its folder.
 */
export function parseShardIndex(text: string, where: string): Map<string, string> {
  let parsed: unknown;
  const flaw = findJsonFlaw(text, 64);
  if (flaw?.kind === 'duplicate') throw new CheckpointError(`${where}: lists ${JSON.stringify(flaw.key)} twice`);
  if (flaw?.kind === 'depth') throw new CheckpointError(`${where}: is nested too deeply`);
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`${where}: is not valid JSON (${(cause as Error).message})`, { cause });
  }
  const map = typeof parsed === 'object' && parsed !== null && 'weight_map' in parsed ? parsed.weight_map : undefined;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    throw new CheckpointError(`${where}: has no object "weight_map"`);
  }
  const shardOf = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string') {
      throw new CheckpointError(`${where}: the file of tensor ${JSON.stringify(tensor)} is not a string`);
    }
    const pathReason = pathFlaw(file);
    if (pathReason !== undefined) {
      throw new CheckpointError(`${where}: the file name ${JSON.stringify(file.slice(0, 200))} ${pathReason}`);
    }
    if (!file.endsWith('.safetensors')) {
      throw new CheckpointError(`${where}: the shard ${JSON.stringify(file)} is not a .safetensors file`);
    }
    shardOf.set(tensor, file);
  }
  if (shardOf.size === 0) throw new CheckpointError(`${where}: lists no tensors`);
  if (new Set(shardOf.values()).size > MAX_SHARDS) {
    throw new CheckpointError(`${where}: lists more than ${MAX_SHARDS} shards`);
  }
  return shardOf;
}
