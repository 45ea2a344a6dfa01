/**
 * @file A checkpoint from named files, of any format that is read.
 */
import { buildCheckpoint, type CheckpointFiles } from './checkpoint.ts';
import { isGguf, pickGguf } from './gguf/shards.ts';
import { isQuantised } from './quantised/is-quantised.ts';
import type { Checkpoint } from './types.ts';

/**
 * Builds a checkpoint from safetensors with their config.json, or from a GGUF file.
 *
 * @param weights a particular weight file. @default the one that the files leave no doubt about
 * @throws CheckpointError as `buildCheckpoint`, `buildGgufCheckpoint` and `readQuantised` do.
 */
export async function checkpointFromFiles(files: CheckpointFiles, weights?: string): Promise<Checkpoint> {
  const gguf = weights === undefined ? pickGguf(await files.list(), files.name) : isGguf(weights) ? weights : undefined;
  if (gguf !== undefined) {
    // Loaded when it is needed: it is 40 kB of what a page loads.
    const { buildGgufCheckpoint } = await import('./gguf/checkpoint.ts');
    return buildGgufCheckpoint(files, gguf);
  }
  const checkpoint = await buildCheckpoint(files, weights);
  if (!isQuantised(checkpoint.config)) return checkpoint;
  try {
    const { readQuantised } = await import('./quantised/read.ts');
    return await readQuantised(checkpoint);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
