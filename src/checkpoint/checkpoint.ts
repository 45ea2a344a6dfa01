/**
 * @file A checkpoint from named files, wherever they are: a folder, blobs in a browser.
 */
import { CheckpointError } from '../util/errors.ts';
import { pathFlaw } from '../util/files/relative-path.ts';
import { parseJsonObject } from '../util/json/json.ts';
import { sha256 } from '../util/sha256.ts';
import { identify } from './identity.ts';
import { readSafetensors, type SafetensorsFile } from './safetensors.ts';
import { parseShardIndex, SHARD_INDEX_FILE } from './shard-index.ts';
import type { ByteSource, Checkpoint, StoredTensor } from './types.ts';

/** Enough for any tokenizer.json; a larger "text" file is something else. */
const MAX_TEXT_BYTES = 256 * 1024 * 1024;

/** The files of a checkpoint, by name. */
export interface CheckpointFiles {
  /** Folder, file or hub id, for messages. */
  readonly name: string;
  /** The names of the files at hand, without folders. */
  list(): Promise<readonly string[]>;
  /** Opens a file; undefined where there is none of that name. */
  open(file: string): Promise<ByteSource | undefined>;
}

/**
 * Builds a checkpoint from `model.safetensors`, from the shards of `model.safetensors.index.json`, or from the only
 * safetensors file there is; together with `config.json`.
 *
 * @param weights - A particular weight file instead.
 * @throws CheckpointError where a file is missing, damaged, or contradicts another; it says which.
 */
export async function buildCheckpoint(files: CheckpointFiles, weights?: string): Promise<Checkpoint> {
  const configText = await readText(files, 'config.json');
  if (configText === undefined) {
    throw new CheckpointError(`${files.name}: ${noConfig(await files.list())}`);
  }
  const config = parseJsonObject(configText, `${files.name}: config.json`, CheckpointError);
  const opened: ByteSource[] = [];
  try {
    const shardOf = weights === undefined ? await pickWeights(files) : weights;
    const parsed = await openShards(files, shardOf, opened);
    const tensors = mergeShards(files.name, parsed, typeof shardOf === 'string' ? undefined : shardOf);
    const read = [...parsed.values()];
    const weightFiles = opened.map((source, i) => ({ source, tensors: read[i].ranges }));
    const { identity, fingerprint } = await identify(weightFiles, [
      sha256(configText),
      read.map(({ header }) => sha256(header)),
    ]);
    return {
      name: files.name,
      config,
      tensors,
      identity,
      fingerprint,
      async readJson(file) {
        const text = await readText(files, file);
        return text === undefined ? undefined : parseJsonObject(text, `${files.name}: ${file}`, CheckpointError);
      },
      readText: (file) => readText(files, file),
      openFile: (file) => openFile(files, file),
      close: () => closeAll(opened),
    };
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

async function closeAll(sources: ByteSource[]): Promise<void> {
  // Emptied, so that a second close is harmless.
  await Promise.all(sources.splice(0).map((source) => source.close()));
}

/** One file's name, or which shard holds which tensor. */
async function pickWeights(files: CheckpointFiles): Promise<string | Map<string, string>> {
  const names = await files.list();
  if (names.includes('model.safetensors')) return 'model.safetensors';
  const index = await readText(files, SHARD_INDEX_FILE);
  if (index !== undefined) return parseShardIndex(index, `${files.name}: ${SHARD_INDEX_FILE}`);
  const others = names.filter((name) => name.endsWith('.safetensors'));
  if (others.length === 1 && !isShardName(others[0])) return others[0];
  if (others.length > 0) {
    throw new CheckpointError(
      `${files.name}: holds ${others.length} .safetensors ${others.length === 1 ? 'file' : 'files'} ` +
        `(${others.slice(0, 3).join(', ')}${others.length > 3 ? ', …' : ''}), but neither model.safetensors nor ` +
        `${SHARD_INDEX_FILE}; fetch the index as well, or open one file by its path`,
    );
  }
  throw new CheckpointError(`${files.name}: ${noSafetensors(names)}`);
}

/** What to say of a folder or repository without a config.json. @param names of its files. */
export function noConfig(names: readonly string[]): string {
  if (names.includes('adapter_config.json'))
    return 'is an adapter, not a model; name the model that it was made for, and give this one as its adapter';
  if (!names.some((name) => /.\.(safetensors|bin|onnx)$/.test(name)))
    return 'is no model: there is no config.json, no .safetensors file and no GGUF file';
  return 'there is no config.json; it says what kind of model this is; copy it from where the weights are from';
}

/** What to say of a folder or repository without a safetensors file. */
export function noSafetensors(names: readonly string[]): string {
  const pickled = names.find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  if (pickled !== undefined) {
    return (
      `the weights are in PyTorch's pickle format (${pickled}), which can run code and is not read; ` +
      'convert them to safetensors, e.g. in Python with model.save_pretrained(folder, safe_serialization=True)'
    );
  }
  const onnx = names.find((name) => /(^onnx|\.onnx)$/.test(name));
  if (onnx !== undefined)
    return (
      `the weights are in ONNX's format (${onnx}), which is not read; take the repository that they were made from, ` +
      'such as Qwen/Qwen3-0.6B for onnx-community/Qwen3-0.6B-ONNX'
    );
  return 'there are no weights: no model.safetensors, no shards with an index, no other .safetensors file, no GGUF file';
}

/** Whether this is the name of one shard of several, e.g. `model-00001-of-00002.safetensors`. */
export function isShardName(name: string): boolean {
  const match = /-\d{5,6}-of-(\d{5,6})\.safetensors$/.exec(name);
  return match !== null && Number(match[1]) > 1;
}

/** Opens the files and reads their headers, in the order in which they are added to `opened`. */
async function openShards(
  files: CheckpointFiles,
  shardOf: string | Map<string, string>,
  opened: ByteSource[],
): Promise<Map<string, SafetensorsFile>> {
  const shards = typeof shardOf === 'string' ? [shardOf] : [...new Set(shardOf.values())].sort();
  const missing: string[] = [];
  for (const shard of shards) {
    const source = await files.open(shard);
    if (source === undefined) missing.push(shard);
    else opened.push(source);
  }
  if (missing.length > 0) {
    throw new CheckpointError(
      `${files.name}: ${missing.length} of ${shards.length} weight files are missing: ${missing.slice(0, 10).join(', ')}` +
        `${missing.length > 10 ? ', …' : ''}; download them again`,
    );
  }
  const parsed = new Map<string, SafetensorsFile>();
  for (let i = 0; i < shards.length; i++) parsed.set(shards[i], await readSafetensors(opened[i]));
  return parsed;
}

function mergeShards(
  name: string,
  shards: ReadonlyMap<string, SafetensorsFile>,
  shardOf: ReadonlyMap<string, string> | undefined,
): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const heldBy = new Map<string, string>();
  for (const [shard, file] of shards) {
    for (const [tensorName, tensor] of file.tensors) {
      const other = heldBy.get(tensorName);
      if (other !== undefined) {
        throw new CheckpointError(
          `${name}: tensor ${JSON.stringify(tensorName)} is in both ${other} and ${shard}; ` +
            'the shards are from different checkpoints; download them again',
        );
      }
      heldBy.set(tensorName, shard);
      tensors.set(tensorName, tensor);
    }
  }
  for (const [tensorName, shard] of shardOf ?? []) {
    const actual = heldBy.get(tensorName);
    if (actual !== shard) {
      const where = actual === undefined ? 'no shard has it' : `it is in ${actual}`;
      throw new CheckpointError(
        `${name}: ${SHARD_INDEX_FILE} promises tensor ${JSON.stringify(tensorName)} in ${shard}, but ${where}; ` +
          'the index and the shards are from different checkpoints; download them again',
      );
    }
  }
  return tensors;
}

/** @throws CheckpointError for a name that leaves the folder. */
async function openFile(files: CheckpointFiles, file: string): Promise<ByteSource | undefined> {
  const flaw = pathFlaw(file);
  if (flaw !== undefined) throw new CheckpointError(`${files.name}: the file name ${JSON.stringify(file)} ${flaw}`);
  return files.open(file);
}

async function readText(files: CheckpointFiles, file: string): Promise<string | undefined> {
  const source = await openFile(files, file);
  if (source === undefined) return undefined;
  try {
    if (source.size > MAX_TEXT_BYTES) {
      throw new CheckpointError(`${source.name}: ${source.size} bytes are too many for a text file`);
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(await source.read(0, source.size));
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    throw new CheckpointError(`${source.name}: is not valid UTF-8 text`, { cause });
  } finally {
    await source.close();
  }
}
