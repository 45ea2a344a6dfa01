/**
 * @file A checkpoint from named files, of any format that is read.
 */
import { buildCheckpoint, type CheckpointFiles } from './checkpoint.ts';
import { buildGgufCheckpoint } from './gguf/checkpoint.ts';
import { isGguf, pickGguf } from './gguf/shards.ts';
import type { Checkpoint } from './types.ts';

/**
 * Builds a checkpoint from safetensors with their config.json, or from a GGUF file.
 *
 * @param weights a particular weight file. @default the one that the files leave no doubt about
 * @throws CheckpointError as {@link buildCheckpoint} and {@link buildGgufCheckpoint} do.
 */
export async function checkpointFromFiles(files: CheckpointFiles, weights?: string): Promise<Checkpoint> {
  const gguf = weights === undefined ? pickGguf(await files.list(), files.name) : isGguf(weights) ? weights : undefined;
  return gguf === undefined ? buildCheckpoint(files, weights) : buildGgufCheckpoint(files, gguf);
}
