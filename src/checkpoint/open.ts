/**
 * @file A checkpoint from named files, of any format that is read.
 */
import { buildCheckpoint, type CheckpointFiles } from './checkpoint.ts';
import { isGguf, pickGguf } from './gguf/shards.ts';
import { TRANSFORMER_FOLDER } from './model-files.ts';
import { isQuantized } from './quantized/is-quantized.ts';
import type { Checkpoint } from './types.ts';

/**
 * Builds a checkpoint from safetensors with their config.json, or from a GGUF file.
 *
 * @param weights a particular weight file. @default the one that the files leave no doubt about
 * @throws CheckpointError as `buildCheckpoint`, `buildGgufCheckpoint` and `readQuantized` do.
 */
export async function checkpointFromFiles(all: CheckpointFiles, weights?: string): Promise<Checkpoint> {
  const files = weights === undefined ? await withTransformerFolder(all) : all;
  const gguf =
    weights === undefined
      ? pickGguf(await files.list(), files.name)
      : (await isGgufFile(files, weights))
        ? weights
        : undefined;
  if (gguf !== undefined) {
    // Loaded when it is needed: it is 40 kB of what a page loads.
    const { buildGgufCheckpoint } = await import('./gguf/checkpoint.ts');
    return buildGgufCheckpoint(files, gguf);
  }
  const checkpoint = await buildCheckpoint(files, weights);
  try {
    if (!isQuantized(checkpoint.config) && ![...checkpoint.tensors.keys()].some((name) => QUANTISED.test(name)))
      return checkpoint;
    const { readQuantized } = await import('./quantized/read.ts');
    return await readQuantized(checkpoint);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** Tensors whose settings may lie in a file beside config.json. */
const QUANTISED = /\.(qweight|weight_scale)$/;
const MAGIC = 'GGUF';

/**
 * Whether a file is GGUF, by its name or else by its first bytes: Ollama and the hub's cache name files by their hash.
 */
export async function isGgufFile(files: CheckpointFiles, name: string): Promise<boolean> {
  if (isGguf(name)) return true;
  const source = name.endsWith('.safetensors') ? undefined : await files.open(name);
  if (!source) return false;
  try {
    if (source.size < MAGIC.length) return false;
    return new TextDecoder().decode(await source.read(0, MAGIC.length)) === MAGIC;
  } finally {
    await source.close();
  }
}

/** The files as they are, or, where the model is in a folder of its own, those of that folder before the others. */
async function withTransformerFolder(files: CheckpointFiles): Promise<CheckpointFiles> {
  const inside = (file: string) => `${TRANSFORMER_FOLDER}/${file}`;
  if ((await has(files, 'config.json')) || !(await has(files, inside('config.json')))) return files;
  return {
    name: files.name,
    // Only one file of weights can be meant there, or one index.
    list: async () => {
      const names = [...(await files.list())];
      for (const name of ['model.safetensors', 'pytorch_model.bin'])
        if (await has(files, inside(name))) names.push(name);
      return names;
    },
    open: async (file) => (await files.open(inside(file))) ?? files.open(file),
  };
}

async function has(files: CheckpointFiles, file: string): Promise<boolean> {
  const source = await files.open(file);
  await source?.close();
  return source !== undefined;
}
