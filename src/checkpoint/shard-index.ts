/**
 * @file `model.safetensors.index.json`: which shard holds which tensor.
 */
import { CheckpointError } from '../util/errors.ts';
import { pathFlaw } from '../util/files/relative-path.ts';
import { isObject } from '../util/json/is-object.ts';
import { parseJsonObject } from '../util/json/json.ts';
import { findJsonFlaw } from '../util/json/json-keys.ts';
import { show } from '../util/json/show.ts';

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
  const flaw = findJsonFlaw(text, 64);
  if (flaw?.kind === 'duplicate') throw new CheckpointError(`${where}: lists ${JSON.stringify(flaw.key)} twice`);
  if (flaw?.kind === 'depth') throw new CheckpointError(`${where}: is nested too deeply`);
  const { weight_map: map } = parseJsonObject(text, where, CheckpointError);
  if (!isObject(map)) throw new CheckpointError(`${where}: has no object "weight_map"`);
  const shardOf = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string') {
      throw new CheckpointError(`${where}: the file of tensor ${JSON.stringify(tensor)} is not a string`);
    }
    const pathReason = pathFlaw(file);
    if (pathReason !== undefined) {
      throw new CheckpointError(`${where}: the file name ${show(file, 200)} ${pathReason}`);
    }
    if (!file.endsWith('.safetensors')) {
      throw new CheckpointError(`${where}: the shard ${show(file, 200)} is not a .safetensors file`);
    }
    shardOf.set(tensor, file);
  }
  if (shardOf.size === 0) throw new CheckpointError(`${where}: lists no tensors`);
  if (new Set(shardOf.values()).size > MAX_SHARDS) {
    throw new CheckpointError(`${where}: lists more than ${MAX_SHARDS} shards`);
  }
  return shardOf;
}
