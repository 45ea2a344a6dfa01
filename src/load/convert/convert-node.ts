/**
 * @file Writes a model as a GGUF file.
 */
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { openAdapterFolder } from '../../adapters/read/open-node.ts';
import { tensorType } from '../../checkpoint/gguf/blocks/block-formats.ts';
import { type Entry, headerBytes, padded, tensorBytes } from '../../checkpoint/gguf/write/header-bytes.ts';
import { encodeValues, WRITTEN_FORMATS, type WrittenFormat } from '../../checkpoint/gguf/write/quantize.ts';
import { vocabularyEntries } from '../../checkpoint/gguf/write/vocabulary-entries.ts';
import type { Checkpoint } from '../../checkpoint/types.ts';
import { checkPath } from '../../util/arguments.ts';
import { InputError, KeyholdError, WeightsError } from '../../util/errors.ts';
import { freeBytes, makeFolder, syncFolder, unfinishedName } from '../../util/files/files-node.ts';
import { PIECE_VALUES } from '../../util/numbers.ts';
import { checkOptionsObject } from '../../util/option-names.ts';
import { adaptPlan } from '../adapters/load-adapters.ts';
import type { MergeSource } from '../adapters/merge-node.ts';
import { planModel } from '../plan.ts';
import { checkReadsBack } from './check-written-node.ts';
import { ggufModelOf } from './gguf-model.ts';
import { type GgufTensor, ggufTensors } from './gguf-tensors.ts';

/** Options of `writeGguf`. */
export interface ConvertOptions {
  /**
   * How matrices are stored. Norms, biases and routers are always f32; with q4_0, embedding and head are q8_0. Rows
   * that are no whole blocks of 32 are f16.
   * @default 'f16'
   */
  readonly weights?: WrittenFormat;
  /** Adapters to merge. @default none */
  readonly adapters?: readonly MergeSource[];
  /** Which model of a checkpoint that holds several. @default the one that generates text, or else the first */
  readonly part?: string;
  /** Told how many bytes are written, and how many there are. */
  readonly onProgress?: (progress: { readonly bytes: number; readonly total: number }) => void;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What was written. */
export interface ConvertResult {
  /** Path of the file, as it was given. */
  readonly file: string;
  /** Bytes of the file. */
  readonly bytes: number;
  /** Number of tensors. */
  readonly tensors: number;
}

/** general.file_type of each format. */
const FILE_TYPES: Readonly<Record<WrittenFormat, number>> = { f32: 0, f16: 1, q4_0: 2, q8_0: 7, bf16: 32 };

/**
 * Writes a model as one GGUF file, which llama.cpp loads. It appears whole or not at all.
 * @param checkpoint stays open.
 * @throws ConfigError, TokenizerError for what can't be written; CheckpointError, AdapterError for what can't be read;
 * InputError where the file exists; WeightsError where it can't be written; the signal's reason.
 * @example
 * ```ts
 * import { openCheckpoint, writeGguf } from 'keyhold/checkpoint';
 *
 * const checkpoint = await openCheckpoint('keyhold/tiny');
 * const { file, bytes } = await writeGguf(checkpoint, 'tiny-q8_0.gguf', { weights: 'q8_0' });
 * await checkpoint.close();
 * console.log(file, bytes);
 * ```
 */
export async function writeGguf(
  checkpoint: Checkpoint,
  out: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  checkPath('writeGguf', out);
  checkOptionsObject('writeGguf', options);
  const { weights = 'f16', adapters = [], signal } = options;
  if (!WRITTEN_FORMATS.includes(weights))
    throw new InputError(`there is no format "${weights}" to write; there are ${WRITTEN_FORMATS.join(', ')}`);
  if (await stat(out).catch(() => null)) throw new InputError(`${out}: is there already; name a new file`);
  signal?.throwIfAborted();
  const plan = planModel(checkpoint, 'float32', options.part);
  const requests = adapters.map(({ path, weight }) => ({ open: () => openAdapterFolder(path), weight }));
  const adapted = await adaptPlan(checkpoint, plan, requests);
  try {
    const { config } = adapted;
    const facts = ggufModelOf(config, checkpoint.name.replace(/^.*[/\\]/, '') || 'model');
    const made = ggufTensors(config, adapted.request, facts);
    const metadata = new Map<string, Entry>(facts.entries);
    metadata.set('general.file_type', { type: 'u32', value: FILE_TYPES[weights] });
    for (const [key, entry] of await vocabularyOf(checkpoint, config.embedRows)) metadata.set(key, entry);
    const check = (file: string) => checkReadsBack(file, checkpoint.name, config);
    return await writeFile(resolve(out), metadata, made, { ...options, weights, check });
  } finally {
    await adapted.close();
  }
}

async function vocabularyOf(checkpoint: Checkpoint, size: number): Promise<ReadonlyMap<string, Entry>> {
  const json = await checkpoint.readJson('tokenizer.json');
  if (!json) return new Map([['tokenizer.ggml.model', { type: 'text', value: 'no_vocab' }]]);
  const config = (await checkpoint.readJson('tokenizer_config.json')) ?? {};
  const template = await checkpoint.readText('chat_template.jinja');
  return vocabularyEntries(json, template === undefined ? config : { ...config, chat_template: template }, size);
}

/** The format of one tensor. */
function formatOf({ role, rows }: GgufTensor, weights: WrittenFormat): WrittenFormat {
  if (role === 'exact') return 'f32';
  const format = role === 'table' && weights === 'q4_0' ? 'q8_0' : weights;
  return tensorType(format).blockLength > 1 && rows.cols % 32 !== 0 ? 'f16' : format;
}

async function writeFile(
  path: string,
  metadata: ReadonlyMap<string, Entry>,
  made: readonly GgufTensor[],
  {
    weights,
    onProgress,
    signal,
    check,
  }: ConvertOptions & { weights: WrittenFormat; check: (file: string) => Promise<void> },
): Promise<ConvertResult> {
  const tensors = made.map((tensor) => ({ ...tensor, format: formatOf(tensor, weights) }));
  const infos = tensors.map(({ name, shape, format }) => ({ name, shape, type: tensorType(format) }));
  const header = headerBytes(metadata, infos);
  const total = infos.reduce((sum, info) => sum + padded(tensorBytes(info)), header.length);
  const unfinished = unfinishedName(path);
  let done = 0;
  try {
    await makeFolder(dirname(path));
    const free = await freeBytes(dirname(path));
    if (free < total)
      throw new WeightsError(
        `${path}: takes ${Math.ceil(total / 1e6)} MB, but only ${Math.ceil(free / 1e6)} MB are free`,
      );
    const file = await open(unfinished, 'wx');
    const put = async (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
      done += bytes.length;
      onProgress?.({ bytes: done, total });
    };
    try {
      await put(header);
      for (const { rows: source, format } of tensors) {
        const step = Math.max(1, Math.floor(PIECE_VALUES / source.cols));
        for (let start = 0; start < source.rows; start += step) {
          signal?.throwIfAborted();
          const values = await source.read(start, Math.min(step, source.rows - start));
          await put(encodeValues(values, format));
        }
        await put(new Uint8Array(padded(done) - done));
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await check(unfinished);
    await rename(unfinished, path);
    await syncFolder(dirname(path));
    return { file: path, bytes: total, tensors: infos.length };
  } catch (cause) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    const { code, message } = cause as NodeJS.ErrnoException;
    if (cause instanceof KeyholdError || signal?.aborted || !code) throw cause;
    throw new WeightsError(`${path}: can't be written: ${message}`, { cause });
  }
}
