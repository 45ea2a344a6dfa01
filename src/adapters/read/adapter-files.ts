/**
 * @file The files of an adapter: settings in JSON and tensors in safetensors, or both in GGUF.
 */
import type { CheckpointFiles } from '../../checkpoint/checkpoint.ts';
import type { Metadata } from '../../checkpoint/gguf/metadata.ts';
import { readSafetensors } from '../../checkpoint/safetensors.ts';
import type { ByteSource, StoredTensor } from '../../checkpoint/types.ts';
import { AdapterError } from '../../util/errors.ts';
import { product } from '../../util/numbers.ts';
import { hashSamples } from '../../util/sample.ts';
import { sha256 } from '../../util/sha256.ts';
import type { BaseModel } from '../base-model.ts';
import type { Adapter, Matrix } from '../types.ts';

/** Where an adapter's files are; {@link CheckpointFiles} of a folder, or blobs. */
export type AdapterFiles = CheckpointFiles;

/** Settings larger than this are something else. */
const MAX_SETTINGS = 16 * 1024 * 1024;

/** An adapter's files, opened: their text and tensors, not yet what they mean for a base. */
export interface OpenAdapter {
  /** Folder or file, for messages. */
  readonly name: string;
  /** Says which bytes these are. */
  readonly identity: string;
  /** Says what is in them, wherever they lie. */
  readonly fingerprint: string;
  /**
   * What the adapter makes of a base.
   * @throws AdapterError where it does not fit.
   */
  readFor(base: BaseModel): Promise<Adapter>;
  /** Closes its files. */
  close(): Promise<void>;
}

/** The tensors of an adapter that was opened. Each is asked for once; tensors that are not read are left over. */
export class AdapterTensors {
  readonly name: string;
  readonly identity: string;
  readonly fingerprint: string;
  readonly #source: ByteSource;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #left: Set<string>;

  private constructor(
    name: string,
    source: ByteSource,
    tensors: ReadonlyMap<string, StoredTensor>,
    content: { readonly header: Uint8Array; readonly settings: string; readonly sample: string },
  ) {
    this.name = name;
    this.#source = source;
    this.#tensors = tensors;
    this.#left = new Set(tensors.keys());
    this.fingerprint = sha256(JSON.stringify([source.size, sha256(content.header), content.settings, content.sample]));
    this.identity = sha256(JSON.stringify([source.stamp ?? source.name, this.fingerprint]));
  }

  /**
   * @param settings the text beside, which says what the tensors mean.
   * @throws CheckpointError for a damaged file.
   */
  static async open(name: string, source: ByteSource, settings: string): Promise<AdapterTensors> {
    const { tensors, header, ranges } = await readSafetensors(source);
    const sample = await hashSamples(source, ranges);
    return new AdapterTensors(name, source, tensors, { header, settings, sample });
  }

  /** Also gives the metadata, which say what the tensors mean. @throws CheckpointError for a damaged file. */
  static async openGguf(name: string, source: ByteSource): Promise<{ tensors: AdapterTensors; metadata: Metadata }> {
    // Loaded when it is needed: a page loads the rest without it.
    const [{ readGgufHeader }, { Metadata }, { storedTensor }] = await Promise.all([
      import('../../checkpoint/gguf/header.ts'),
      import('../../checkpoint/gguf/metadata.ts'),
      import('../../checkpoint/gguf/tensors.ts'),
    ]);
    const { metadata, tensors, bytes } = await readGgufHeader(source);
    const stored = new Map(tensors.map((info) => [info.name, storedTensor(source, info)]));
    const ranges = tensors.map((info) => ({ offset: info.offset, length: info.bytes }));
    const content = { header: bytes, settings: '', sample: await hashSamples(source, ranges) };
    return {
      tensors: new AdapterTensors(name, source, stored, content),
      metadata: new Metadata(metadata, name),
    };
  }

  get names(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  /** Takes a tensor. @throws AdapterError where there is none. */
  take(name: string): StoredTensor {
    const tensor = this.#tensors.get(name);
    if (!tensor) throw this.fail(`the tensor ${name} is missing`);
    this.#left.delete(name);
    return tensor;
  }

  /** Takes a tensor that must have two axes. */
  async matrix(name: string): Promise<Matrix> {
    const tensor = this.take(name);
    if (tensor.shape.length !== 2) throw this.fail(`${name} has shape [${tensor.shape}], but a matrix was expected`);
    const [rows, cols] = tensor.shape;
    return { rows, cols, data: await this.#read(tensor) };
  }

  /** Takes a tensor of so many values, whatever its axes. */
  async vector(name: string, length: number, what: string): Promise<Float32Array> {
    const tensor = this.take(name);
    const count = product(tensor.shape);
    if (count !== length || tensor.shape.filter((n) => n !== 1).length > 1)
      throw this.fail(`${name} has shape [${tensor.shape}], but ${what} of the base has ${length}`);
    return this.#read(tensor);
  }

  /** @throws AdapterError names the tensors that were not read. */
  checkLeftovers(why: string): void {
    const left = [...this.#left];
    if (left.length === 0) return;
    const some = left.slice(0, 5).join(', ') + (left.length > 5 ? ` and ${left.length - 5} more` : '');
    throw this.fail(`${left.length} of its tensors have no use: ${some}. ${why}`);
  }

  fail(what: string): AdapterError {
    return new AdapterError(`${this.name}: ${what}`);
  }

  close(): Promise<void> {
    return this.#source.close();
  }

  async #read(tensor: StoredTensor): Promise<Float32Array> {
    const data = await tensor.readFloats(0, product(tensor.shape));
    if (!data.every(Number.isFinite))
      throw this.fail(`the tensor ${tensor.name} holds values that are not finite; the file is damaged`);
    return data;
  }
}

/**
 * Opens the tensors of an adapter. Closes their file where that fails.
 * @param open gives the tensors, and how they are read for a base.
 */
export async function openTensors(
  source: ByteSource,
  open: () => Promise<{ readonly tensors: AdapterTensors; readonly readFor: OpenAdapter['readFor'] }>,
): Promise<OpenAdapter> {
  try {
    const { tensors, readFor } = await open();
    const { name, identity, fingerprint } = tensors;
    return { name, identity, fingerprint, readFor, close: () => tensors.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A text file beside the tensors; undefined where there is none. @throws AdapterError where it is no UTF-8 text. */
export async function readSettings(files: AdapterFiles, file: string): Promise<string | undefined> {
  const source = await files.open(file);
  if (!source) return undefined;
  try {
    if (source.size > MAX_SETTINGS) throw new AdapterError(`${files.name}: ${file} has ${source.size} bytes, too many`);
    return new TextDecoder('utf-8', { fatal: true }).decode(await source.read(0, source.size));
  } catch (cause) {
    if (cause instanceof TypeError) throw new AdapterError(`${files.name}: ${file} is no UTF-8 text`, { cause });
    throw cause;
  } finally {
    await source.close();
  }
}
