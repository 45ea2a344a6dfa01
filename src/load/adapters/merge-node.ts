/**
 * @file A merged model as a checkpoint on the disk, which every library loads that loads its base.
 */
import { resolve } from 'node:path';
import type { BaseModel } from '../../adapters/base-model.ts';
import { MergedModel } from '../../adapters/merge/merged-model.ts';
import { mergedTensors } from '../../adapters/merge/merged-tensors.ts';
import { openAll } from '../../adapters/read/open-all.ts';
import { openAdapterFolder } from '../../adapters/read/open-node.ts';
import { openCheckpointFolder } from '../../checkpoint/open-node.ts';
import type { Checkpoint } from '../../checkpoint/types.ts';
import { checkList, checkPath } from '../../util/arguments.ts';
import { AdapterError, InputError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import { checkEmpty, MAX_SHARD_BYTES, writeCheckpointFolder } from '../checkpoint-folder-node.ts';
import { planModel } from '../plan.ts';

/** An adapter to merge. */
export interface MergeSource {
  /** Its folder, or its .safetensors file with the settings beside it. */
  readonly path: string;
  /** 0 leaves the base as it is, 1 is what was trained. @default 1 */
  readonly weight?: number;
}

/** Options of `mergeAdapters`. */
export interface MergeOptions {
  /** Which model of a checkpoint that holds several. @default the one that generates text, or else the first */
  readonly part?: string;
  /** Largest number of bytes of one file of weights. @default 5e9 */
  readonly maxShardBytes?: number;
  /** Told how many bytes of weights are written, and how many there are. */
  readonly onProgress?: (progress: { readonly bytes: number; readonly total: number }) => void;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What was written. */
export interface MergeResult {
  /** Full path of the folder. */
  readonly folder: string;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** Number of tensors. */
  readonly tensors: number;
}

/**
 * Writes a checkpoint with adapters merged into it. It appears whole or not at all.
 * @param model the base, open; it stays open.
 * @param source the folder that the base lies in, for the files beside its weights; null copies those that `model` can
 * read.
 * @param out a folder that is not there yet, or is empty.
 * @throws AdapterError for adapters that do not fit, or whose changes no checkpoint of this family can hold;
 * CheckpointError for damaged files; InputError where `out` holds something; WeightsError where it can't be written;
 * the signal's reason.
 */
export async function mergeInto(
  model: Checkpoint,
  source: string | null,
  adapters: readonly MergeSource[],
  out: string,
  options: MergeOptions = {},
): Promise<MergeResult> {
  checkPath('mergeAdapters', out);
  const { signal, maxShardBytes = MAX_SHARD_BYTES } = options;
  const isSource = (one: unknown) => isObject(one) && typeof one['path'] === 'string';
  checkList('mergeAdapters', 'adapters as a list of { path, weight }', adapters, isSource);
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
    return await writeCheckpointFolder(folder, {
      tensors,
      config: configText(model, merged),
      companions: { checkpoint: model, source },
      maxShardBytes,
      signal,
      onProgress: options.onProgress,
      check: async (unfinished) => {
        const written = await openCheckpointFolder(unfinished);
        try {
          planModel(written, 'auto', options.part); // what was written can be read
        } finally {
          await written.close();
        }
      },
    });
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
