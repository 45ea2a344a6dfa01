/**
 * @file A checkpoint from a GGUF file, or from its shards.
 */
import { CheckpointError } from '../../util/errors.ts';
import { sha256 } from '../../util/sha256.ts';
import type { CheckpointFiles } from '../checkpoint.ts';
import { identify } from '../identity.ts';
import { quantizedNote } from '../quantized/note.ts';
import type { ByteSource, Checkpoint, StoredTensor } from '../types.ts';
import { type GgufHeader, type MetadataValue, readGgufHeader } from './header.ts';
import { Metadata } from './metadata.ts';
import { asHuggingFace } from './model.ts';
import { poolingFile } from './pooling.ts';
import { samplingDefaults } from './sampling-defaults.ts';
import { shardNames } from './shards.ts';
import { storedTensor } from './tensors.ts';
import { readVocabulary } from './tokenizer/read-vocabulary.ts';
import { ggufTokenizerConfig, ggufTokenizerJson } from './tokenizer/tokenizer-json.ts';
import type { GgufVocabulary } from './tokenizer/types.ts';

/**
 * Builds a checkpoint from a GGUF file: its metadata as config.json, tokenizer.json and tokenizer_config.json, its
 * tensors by Hugging Face's names. Of a file in shards any may be named; the others must lie beside it.
 *
 * @throws CheckpointError where a file is missing, damaged, or of an architecture that is not run.
 */
export async function buildGgufCheckpoint(files: CheckpointFiles, file: string): Promise<Checkpoint> {
  const sources: ByteSource[] = [];
  const close = async () => {
    // Emptied, so that a second close is harmless.
    await Promise.all(sources.splice(0).map((source) => source.close()));
  };
  try {
    const headers = await openShards(files, file, sources);
    const metadata = headers[0].metadata;
    const all = new Metadata(metadata, files.name);
    const stored = mergeShards(files.name, headers, sources);
    const weightFiles = sources.map((source, i) => ({
      source,
      tensors: headers[i].tensors.map(({ name, offset, bytes }) => ({ name, offset, length: bytes })),
    }));
    const identified = identify(weightFiles, [headers.map(({ bytes }) => sha256(bytes))]);
    // Samples are read meanwhile; the error of what is made of the metadata goes before one of theirs.
    identified.catch(() => undefined);
    const { config, tensors } = await asHuggingFace(all, stored, files.name);
    const { identity, fingerprint } = await identified;
    const architecture = String(metadata.get('general.architecture'));
    const texts = new MetadataFiles(all, architecture);
    return {
      name: files.name,
      config,
      tensors,
      ...noteOf(headers),
      identity,
      fingerprint,
      readJson: async (name) =>
        texts.json(name) ?? (poolingFile(all.below(`${architecture}.`), name) as Record<string, unknown> | undefined),
      async readText(name) {
        const json = texts.json(name) ?? poolingFile(all.below(`${architecture}.`), name);
        return json === undefined ? undefined : JSON.stringify(json);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Where tensors are quantized. */
function noteOf(headers: readonly GgufHeader[]): { note?: string } {
  const formats = new Set(headers.flatMap(({ tensors }) => tensors.map(({ type }) => type)));
  const names = [...formats].filter(({ blockLength }) => blockLength > 1).map(({ name }) => name);
  return names.length > 0 ? { note: quantizedNote(`GGUF: ${names.sort().join(', ')}`) } : {};
}

/** What other checkpoints have as files beside the weights, made of the metadata when it is asked for. */
class MetadataFiles {
  readonly #metadata: Metadata;
  readonly #architecture: string;
  #vocabulary: GgufVocabulary | null | undefined;

  constructor(metadata: Metadata, architecture: string) {
    this.#metadata = metadata;
    this.#architecture = architecture;
  }

  json(name: string): Record<string, unknown> | undefined {
    if (name === 'generation_config.json') return samplingDefaults(this.#metadata);
    if (name !== 'tokenizer.json' && name !== 'tokenizer_config.json') return undefined;
    if (this.#vocabulary === undefined) this.#vocabulary = readVocabulary(this.#metadata, this.#architecture);
    if (this.#vocabulary === null) return undefined;
    return name === 'tokenizer.json' ? ggufTokenizerJson(this.#vocabulary) : ggufTokenizerConfig(this.#vocabulary);
  }
}

async function openShards(files: CheckpointFiles, file: string, sources: ByteSource[]): Promise<GgufHeader[]> {
  const names = shardNames(file) ?? [file];
  const missing: string[] = [];
  for (const name of names) {
    const source = await files.open(name);
    if (source) sources.push(source);
    else missing.push(name);
  }
  if (missing.length > 0)
    throw new CheckpointError(
      `${files.name}: ${missing.length} of ${names.length} GGUF files are missing: ${missing.slice(0, 10).join(', ')}` +
        `${missing.length > 10 ? ', …' : ''}; download them again`,
    );
  const headers: GgufHeader[] = [];
  for (const source of sources) headers.push(await readGgufHeader(source));
  checkShards(files.name, names, headers);
  return headers;
}

/** Each shard says which one it is, and of how many. */
function checkShards(where: string, names: readonly string[], headers: readonly GgufHeader[]): void {
  const number = (value: MetadataValue | undefined, fallback: number) => (value === undefined ? fallback : value);
  headers.forEach(({ metadata }, i) => {
    const count = number(metadata.get('split.count'), 1);
    const index = number(metadata.get('split.no'), 0);
    const expected = names.length === 1 ? [0, 1] : [i, names.length];
    // A file that was not split may say that it is split into 0 or 1.
    if (index !== expected[0] || (count !== expected[1] && !(names.length === 1 && count === 0)))
      throw new CheckpointError(
        `${where}: ${names[i]} says that it is part ${String(index)} of ${String(count)}, but its name makes it part ` +
          `${expected[0]} of ${expected[1]}; keep the names that the files were published under`,
      );
  });
  const promised = headers[0].metadata.get('split.tensors.count');
  const found = headers.reduce((sum, { tensors }) => sum + tensors.length, 0);
  if (names.length > 1 && promised !== undefined && promised !== found)
    throw new CheckpointError(
      `${where}: the parts hold ${found} tensors, but ${String(promised)} are announced; download them again`,
    );
}

function mergeShards(
  where: string,
  headers: readonly GgufHeader[],
  sources: readonly ByteSource[],
): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  headers.forEach((header, i) => {
    for (const info of header.tensors) {
      if (tensors.has(info.name))
        throw new CheckpointError(`${where}: the tensor ${JSON.stringify(info.name)} is in two of the parts`);
      tensors.set(info.name, storedTensor(sources[i], info));
    }
  });
  return tensors;
}
