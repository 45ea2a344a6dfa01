/**
 * @file A merged model as a checkpoint on the disk, which every library loads that loads its base.
 */
import { copyFile, mkdir, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { BaseModel } from '../adapters/base-model.ts';
import { MergedModel } from '../adapters/merged-model.ts';
import { mergedTensors } from '../adapters/merged-tensors.ts';
import { openAll } from '../adapters/open-all.ts';
import { openAdapterFolder } from '../adapters/open-node.ts';
import { isGguf } from '../checkpoint/gguf/shards.ts';
import { openCheckpointFolder } from '../checkpoint/open-node.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { tensorBytes, writeSafetensors } from '../checkpoint/write-safetensors-node.ts';
import { AdapterError, InputError, KeyholdError, WeightsError } from '../util/errors.ts';
import { freeBytes, syncFolder, unfinishedName } from '../util/files-node.ts';
import { planModel } from './plan.ts';

/** An adapter to merge. */
export interface MergeSource {
  /** Its folder, or its .safetensors file with the settings beside. */
  readonly path: string;
  /** 0 leaves the base as it is, 1 (the default) is what was trained. */
  readonly weight?: number;
}

export interface MergeOptions {
  /** Which of a checkpoint's models the adapters are for, as in loading. */
  readonly part?: string;
  /** Most bytes of one file. @default 5 GB */
  readonly maxShardBytes?: number;
  readonly onProgress?: (progress: { readonly bytes: number; readonly total: number }) => void;
  readonly signal?: AbortSignal;
}

export interface MergeResult {
  readonly folder: string;
  /** Bytes of all tensors. */
  readonly bytes: number;
  readonly tensors: number;
}

const MAX_SHARD_BYTES = 5e9;

/** Files that belong to the model besides its weights and its config.json. */
const COMPANIONS =
  /^((generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|preprocessor_config|processor_config)\.json|merges\.txt|vocab\.txt|.*\.model|chat_template\.jinja|(LICEN[CS]E|NOTICE)(\.\w+)?)$/;

/**
 * Writes a checkpoint with adapters merged into it. It appears whole or not at all.
 * @param model the base, open; it stays open.
 * @param source the folder that the base lies in, for the files beside its weights; null copies those that `model` can read.
 * @param out a folder that is not there yet, or is empty.
 * @throws AdapterError for adapters that do not fit, or whose changes no checkpoint of this family can hold; CheckpointError for
 * damaged files; InputError where `out` holds something; WeightsError where it can't be written; the signal's reason.
 */
export async function mergeInto(
  model: Checkpoint,
  source: string | null,
  adapters: readonly MergeSource[],
  out: string,
  options: MergeOptions = {},
): Promise<MergeResult> {
  const { signal, maxShardBytes = MAX_SHARD_BYTES } = options;
  if (adapters.length === 0) throw new InputError('there is no adapter to merge');
  if (!(maxShardBytes > 0)) throw new InputError(`maxShardBytes must be above 0, but is ${maxShardBytes}`);
  signal?.throwIfAborted();
  const folder = resolve(out);
  await checkEmpty(folder, out);
  const requests = adapters.map(({ path, weight }) => ({ open: () => openAdapterFolder(path), weight }));
  const { base, adapters: read, close } = await openAll(model, planModel(model, 'auto', options.part), requests);
  try {
    for (const { adapter } of read)
      if (adapter.prefixes.size > 0)
        throw new AdapterError(
          `${adapter.name}: prefixes of an attention are no weights; load the model with the adapter`,
        );
    const merged = new MergedModel(base, read);
    checkWritable(base, merged);
    const tensors = await mergedTensors(base, merged);
    const total = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
    let bytes = 0;
    const onProgress = (more: number) => {
      bytes += more;
      options.onProgress?.({ bytes, total });
    };
    await atomically(folder, total, signal, async (unfinished) => {
      await writeSafetensors(unfinished, tensors, { maxShardBytes, onProgress, signal });
      await writeFile(join(unfinished, 'config.json'), configText(model, merged), { flush: true });
      await copyCompanions(model, source, unfinished);
      const written = await openCheckpointFolder(unfinished);
      try {
        planModel(written, 'auto', options.part); // what was written can be read
      } finally {
        await written.close();
      }
    });
    return { folder, bytes: total, tensors: tensors.length };
  } finally {
    await close();
  }
}

/** A checkpoint's config says little of biases: those that it does not have can't be added. */
function checkWritable(base: BaseModel, merged: MergedModel): void {
  for (const part of base.parts.keys())
    if (!base.bias(part) && merged.bias(part))
      throw new AdapterError(
        `the adapter adds a bias to ${part}, which checkpoints of ${base.label} can't hold; load the model with the adapter`,
      );
}

function configText({ config }: Checkpoint, merged: MergedModel): string {
  const inner = config.text_config;
  const untied = { tie_word_embeddings: false };
  const isUntied = !merged.config.tieEmbeddings;
  const text = isUntied && typeof inner === 'object' ? { text_config: { ...inner, ...untied } } : {};
  return `${JSON.stringify({ ...config, ...text, ...(isUntied ? untied : {}) }, null, 2)}\n`;
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
export async function atomically(
  folder: string,
  size: number,
  signal: AbortSignal | undefined,
  write: (unfinished: string) => Promise<void>,
): Promise<void> {
  const unfinished = unfinishedName(folder);
  try {
    await mkdir(unfinished, { recursive: true });
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

/** Copies the files that belong to the model besides its weights and its config.json; null: those that `model` can read. */
export async function copyCompanions(model: Checkpoint, source: string | null, to: string): Promise<void> {
  if (source !== null && !isGguf(source)) {
    const folder = (await stat(source)).isDirectory() ? source : dirname(source);
    for (const name of await readdir(folder))
      if (COMPANIONS.test(name)) await copyFile(join(folder, name), join(to, name));
    return;
  }
  for (const name of ['generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) {
    const text = await model.readText(name);
    if (text !== undefined) await writeFile(join(to, name), text);
  }
}
