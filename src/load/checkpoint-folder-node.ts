/**
 * @file Writes a model as a folder that Hugging Face's libraries load: safetensors, config.json, and the files beside
 * them.
 */
import { copyFile, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Checkpoint } from '../checkpoint/types.ts';
import { type TensorToWrite, tensorBytes, writeSafetensors } from '../checkpoint/write-safetensors-node.ts';
import { InputError, KeyholdError, WeightsError } from '../util/errors.ts';
import { freeBytes, makeFolder, syncFolder, unfinishedName } from '../util/files/files-node.ts';

export const MAX_SHARD_BYTES = 5e9;
/** Files that belong to the model besides its weights and its config.json. */
const COMPANIONS =
  /^((generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|preprocessor_config|processor_config)\.json|merges\.txt|vocab\.txt|.*\.model|chat_template\.jinja|(LICEN[CS]E|NOTICE)(\.\w+)?)$/;

export interface CheckpointFolder {
  readonly tensors: readonly TensorToWrite[];
  /** The text of config.json. */
  readonly config: string;
  /** Where the other files come from: the folder or file of the checkpoint; null: what the checkpoint can read. */
  readonly companions: { readonly checkpoint: Checkpoint; readonly source: string | null };
  /** @default {@link MAX_SHARD_BYTES} */
  readonly maxShardBytes?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly bytes: number; readonly total: number }) => void;
  /** Looks at the folder before it gets its name. */
  readonly check?: (unfinished: string) => Promise<void>;
}

/**
 * Writes the folder, which appears whole or not at all.
 * @param folder as {@link checkEmpty} accepts it.
 * @throws WeightsError where it can't be written; what `check` throws; the signal's reason.
 */
export async function writeCheckpointFolder(
  folder: string,
  { tensors, config, companions, maxShardBytes = MAX_SHARD_BYTES, signal, onProgress, check }: CheckpointFolder,
): Promise<{ folder: string; bytes: number; tensors: number }> {
  const total = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  let bytes = 0;
  const wrote = (more: number) => {
    bytes += more;
    onProgress?.({ bytes, total });
  };
  await atomically(folder, total, signal, async (unfinished) => {
    await writeSafetensors(unfinished, tensors, { maxShardBytes, onProgress: wrote, signal });
    await writeFile(join(unfinished, 'config.json'), config, { flush: true });
    await copyCompanions(companions.checkpoint, companions.source, unfinished);
    await check?.(unfinished);
  });
  return { folder, bytes: total, tensors: tensors.length };
}

/** @throws InputError where a folder holds something. */
export async function checkEmpty(folder: string, out: string): Promise<void> {
  const held = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new InputError(`${out}: is not a folder that a model can be written to (${error.code})`, { cause: error });
  });
  if (held.length > 0) throw new InputError(`${out}: holds files already (${held[0]}); name a new folder`);
}

/** Writes a folder under another name and renames it when it is complete. */
async function atomically(
  folder: string,
  size: number,
  signal: AbortSignal | undefined,
  write: (unfinished: string) => Promise<void>,
): Promise<void> {
  const unfinished = unfinishedName(folder);
  try {
    await makeFolder(unfinished);
    const free = await freeBytes(unfinished);
    if (free < size)
      throw new WeightsError(
        `${folder}: the merged model takes ${Math.ceil(size / 1e6)} MB, but only ${Math.ceil(free / 1e6)} MB are free`,
      );
    await write(unfinished);
    await rmdir(folder).catch(() => undefined); // empty, or not there
    await rename(unfinished, folder);
    await syncFolder(dirname(folder));
  } catch (cause) {
    await rm(unfinished, { recursive: true, force: true }).catch(() => undefined);
    const { code, message } = cause as NodeJS.ErrnoException;
    if (cause instanceof KeyholdError || signal?.aborted || !code) throw cause;
    throw new WeightsError(`${folder}: the merged model can't be written: ${message}`, { cause });
  }
}

/** Where files lie beside the weights; null for a GGUF file, which holds all of a model. */
async function folderBeside(source: string): Promise<string | null> {
  if ((await stat(source)).isDirectory()) return source;
  return source.endsWith('.safetensors') ? dirname(source) : null;
}

/**
 * Copies the files that belong to the model besides its weights and its config.json; null: those that `model` can read.
 */
async function copyCompanions(model: Checkpoint, source: string | null, to: string): Promise<void> {
  const folder = source === null ? null : await folderBeside(source);
  const copied = folder === null ? [] : (await readdir(folder)).filter((name) => COMPANIONS.test(name));
  for (const name of copied) await copyFile(join(folder!, name), join(to, name));
  for (const name of ['generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) {
    const text = copied.includes(name) ? undefined : await model.readText(name);
    if (text !== undefined) await writeFile(join(to, name), text);
  }
}
