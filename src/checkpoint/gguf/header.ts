/**
 * @file The header of a GGUF file: metadata, and which tensor lies where.
 *
 * Every count, length and offset is checked against the size of the file before anything is read or allocated by it.
 */
import { CheckpointError } from '../../util/errors.ts';
import { show } from '../../util/json/show.ts';
import { placeholderAdvice } from '../instead.ts';
import type { ByteSource } from '../types.ts';
import { TENSOR_TYPES, type TensorType } from './blocks/block-formats.ts';
import { decodeTexts, findTexts, type PackedTexts, textAt } from './texts.ts';

/** A value of the metadata. Integers beyond 2^53 stay bigint. */
export type MetadataValue = number | bigint | boolean | string | MetadataArray;

/** An array of the metadata. Its elements are decoded when they are asked for: a vocabulary has 100,000 of them. */
export interface MetadataArray {
  readonly length: number;
  readonly elementType: 'number' | 'boolean' | 'string';
  values(): (number | bigint | boolean | string)[];
  /** Of an array of numbers none of which may be a bigint: its elements. */
  numbers?(): ArrayLike<number>;
  /** One element; undefined beyond the end. */
  at(index: number): number | bigint | boolean | string | undefined;
  /** The first index of each of these texts that the array holds, without decoding the others. */
  find(texts: readonly string[]): ReadonlyMap<string, number>;
  /** Of an array of strings: the bytes of its elements. */
  readonly packed?: PackedTexts;
}

/** A tensor as the header describes it. */
export interface TensorInfo {
  readonly name: string;
  readonly type: TensorType;
  /** The slowest axis first, as in safetensors (GGUF itself has the fastest first). */
  readonly shape: readonly number[];
  /** In bytes, from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  readonly tensors: readonly TensorInfo[];
  /** The bytes of the header, to tell files apart. */
  readonly bytes: Uint8Array;
}

/** More than any vocabulary with merges takes. */
const MAX_HEADER_BYTES = 512 * 1024 * 1024;
/**
 * What is read at first: headers with a vocabulary have some 3 MB, and what was too short is read again. Of a remote
 * file, the smaller one.
 */
const FIRST_READ = { local: 1 << 22, remote: 1 << 20 } as const;
const MAX_DIMS = 4;
const MAX_NAME = 512;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 1 << 20;
/** Bytes of the shortest entry: an empty key with a bool; a tensor without a name, of no axes. */
const MIN_ENTRY = 13;
const MIN_INFO = 24;

const MAGIC = 0x46554747; // "GGUF"
const STRING = 8;
const ARRAY = 9;
/** Bytes of the scalar types by their number. */
const SCALAR_BYTES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

/** Arrays of the scalar types whose values are all of type number. */
const NUMBER_ARRAYS = {
  0: Uint8Array,
  1: Int8Array,
  2: Uint16Array,
  3: Int16Array,
  4: Uint32Array,
  5: Int32Array,
  6: Float32Array,
  12: Float64Array,
} as const;

type Fail = (what: string, advice?: string) => CheckpointError;

/**
 * Reads and checks the header of a GGUF file (version 2 or 3).
 *
 * @throws CheckpointError for a file that is truncated, damaged, or lies about itself; it names the entry.
 */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  const fail: Fail = (what, advice = 'The file is damaged or incomplete; download or convert it again.') =>
    new CheckpointError(`${source.name}: ${what}. ${advice}`);
  if (source.size < 24) throw fail(`has ${source.size} bytes, too few for a GGUF file`);
  // What is missing is found by reading more: a header has no length of its own.
  for (let length: number = source.isRemote ? FIRST_READ.remote : FIRST_READ.local; ; length *= 4) {
    const bytes = await source.read(0, Math.min(length, source.size));
    const cursor = new Cursor(bytes, source.size, fail);
    try {
      return parse(cursor, fail);
    } catch (error) {
      if (!(error instanceof NeedsMore)) throw error;
      if (length >= MAX_HEADER_BYTES) throw fail(`has a header of more than ${MAX_HEADER_BYTES} bytes`);
    }
  }
}

function parse(cursor: Cursor, fail: Fail): GgufHeader {
  const magic = cursor.u32();
  if (magic !== MAGIC) throw fail('does not begin with "GGUF"', instead(cursor.bytes));
  const version = cursor.u32();
  if (version === 0x02000000 || version === 0x03000000)
    throw fail(
      'is big-endian',
      'Only little-endian GGUF files are read; convert it again on the machine that uses it.',
    );
  if (version !== 2 && version !== 3)
    throw fail(`has version ${version} of the GGUF format`, 'Versions 2 and 3 are read; convert the model again.');
  const tensorCount = cursor.count('tensors', MIN_INFO);
  const entryCount = cursor.count('metadata entries', MIN_ENTRY);
  const metadata = new Map<string, MetadataValue>();
  for (let i = 0; i < entryCount; i++) {
    const key = cursor.text(`the key of metadata entry ${i}`, MAX_NAME);
    if (metadata.has(key)) throw fail(`has two metadata entries ${quote(key)}`);
    metadata.set(key, cursor.value(`metadata entry ${quote(key)}`));
  }
  const alignment = alignmentOf(metadata, fail);
  const infos: RawInfo[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const info = readInfo(cursor, i, fail);
    if (names.has(info.name)) throw fail(`has two tensors ${quote(info.name)}`);
    names.add(info.name);
    infos.push(info);
  }
  const dataStart = Math.ceil(cursor.at / alignment) * alignment;
  const tensors = infos.map((info) => locate(info, dataStart, alignment, cursor.fileSize, fail));
  checkOverlap(tensors, fail);
  return { version, metadata, tensors, bytes: cursor.bytes.subarray(0, cursor.at) };
}

/** What lies in place of a GGUF file, in a sentence. */
function instead(bytes: Uint8Array): string {
  const advice = placeholderAdvice(bytes) ?? 'it is not a GGUF file';
  return `I${advice.slice(1)}.`;
}

interface RawInfo extends Omit<TensorInfo, 'offset'> {
  /** From the start of the data. */
  readonly offset: number;
}

function readInfo(cursor: Cursor, index: number, fail: Fail): RawInfo {
  const name = cursor.text(`the name of tensor ${index}`, MAX_NAME);
  const tensor = `tensor ${quote(name)}`;
  if (name === '') throw fail(`tensor ${index} has no name`);
  const rank = cursor.u32();
  if (rank < 1 || rank > MAX_DIMS) throw fail(`${tensor} has ${rank} dimensions; there may be 1 to ${MAX_DIMS}`);
  const dims: number[] = [];
  let elements = 1;
  for (let i = 0; i < rank; i++) {
    const dim = cursor.u64();
    dims.push(dim);
    elements *= dim;
    // Checked at every step: a later zero would hide the overflow of the sizes before it.
    if (!Number.isSafeInteger(elements * 8)) throw fail(`the shape [${dims.join(', ')}, …] of ${tensor} is too large`);
  }
  if (elements === 0) throw fail(`${tensor} has the shape [${dims.join(', ')}], which holds nothing`);
  const typeNumber = cursor.u32();
  const type = TENSOR_TYPES.get(typeNumber);
  if (!type)
    throw fail(
      `${tensor} has the type ${typeNumber}`,
      'This type is not read; use another quantization of the model, such as Q4_K_M or Q8_0.',
    );
  if (dims[0] % type.blockLength !== 0)
    throw fail(
      `${tensor} has rows of ${dims[0]} values, which are no whole blocks of ${type.blockLength} (${type.name})`,
    );
  const bytes = (elements / type.blockLength) * type.blockBytes;
  const offset = cursor.u64();
  return { name, type, shape: dims.reverse(), offset, bytes };
}

function locate(info: RawInfo, dataStart: number, alignment: number, fileSize: number, fail: Fail): TensorInfo {
  const tensor = `tensor ${quote(info.name)}`;
  if (info.offset % alignment !== 0)
    throw fail(`${tensor} lies at ${info.offset}, which is no multiple of the alignment ${alignment}`);
  const offset = dataStart + info.offset;
  if (offset + info.bytes > fileSize)
    throw fail(`${tensor} ends at byte ${offset + info.bytes}, but the file has ${fileSize} bytes`);
  return { ...info, offset };
}

function checkOverlap(tensors: readonly TensorInfo[], fail: Fail): void {
  const sorted = [...tensors].sort((a, b) => a.offset - b.offset);
  for (let i = 1; i < sorted.length; i++)
    if (sorted[i].offset < sorted[i - 1].offset + sorted[i - 1].bytes)
      throw fail(`tensor ${quote(sorted[i].name)} overlaps tensor ${quote(sorted[i - 1].name)}`);
}

function alignmentOf(metadata: ReadonlyMap<string, MetadataValue>, fail: Fail): number {
  const stated = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  const valid =
    typeof stated === 'number' && stated >= 1 && stated <= MAX_ALIGNMENT && Number.isInteger(Math.log2(stated));
  if (!valid) throw fail(`general.alignment is ${String(stated)}; it must be a power of two up to ${MAX_ALIGNMENT}`);
  return stated;
}

/** The buffer ends, but the file does not. */
class NeedsMore extends Error {}

/** Reads values one after the other. */
class Cursor {
  at = 0;
  readonly #view: DataView;

  constructor(
    readonly bytes: Uint8Array,
    readonly fileSize: number,
    readonly fail: Fail,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4, 'a number'), true);
  }

  /** A u64; beyond 2^53 it is no size of anything. */
  u64(): number {
    const at = this.#take(8, 'a number');
    const value = this.#view.getUint32(at + 4, true) * 4294967296 + this.#view.getUint32(at, true);
    if (!Number.isSafeInteger(value)) throw this.fail(`has the size ${value} at byte ${at}, which is too large`);
    return value;
  }

  /** A number of things that take at least `least` bytes each. */
  count(what: string, least: number): number {
    const count = this.u64();
    if (count * least > this.fileSize - this.at)
      throw this.fail(`announces ${count} ${what}, but only ${this.fileSize - this.at} bytes follow`);
    return count;
  }

  text(what: string, longest = Number.MAX_SAFE_INTEGER): string {
    const length = this.#length(what);
    const start = this.#take(length, what);
    if (length > longest) throw this.fail(`${what} has ${length} bytes, above the limit of ${longest}`);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
        this.bytes.subarray(start, start + length),
      );
    } catch {
      throw this.fail(`${what} is not valid UTF-8`);
    }
  }

  value(what: string): MetadataValue {
    const type = this.u32();
    if (type === STRING) return this.text(what);
    if (type === ARRAY) return this.#array(what);
    const size = SCALAR_BYTES[type];
    if (size === undefined) throw this.fail(`${what} has the unknown type ${type}`);
    const at = this.#take(size, what);
    if (type === 7 && this.bytes[at] > 1) throw this.fail(`${what} is a bool of value ${this.bytes[at]}`);
    return scalar(this.#view, type, at);
  }

  #array(what: string): MetadataArray {
    const type = this.u32();
    const size = SCALAR_BYTES[type];
    if (type === ARRAY) throw this.fail(`${what} is an array of arrays, which no entry is`);
    if (size === undefined && type !== STRING) throw this.fail(`${what} is an array of the unknown type ${type}`);
    const length = this.count(`elements in ${what}`, size ?? 8);
    const { bytes } = this;
    const view = this.#view;
    if (size !== undefined) {
      const start = this.#take(size * length, what);
      const at = (i: number) => (i < length ? scalar(view, type, start + i * size) : undefined);
      const Numbers = Object.hasOwn(NUMBER_ARRAYS, type) ? NUMBER_ARRAYS[type as keyof typeof NUMBER_ARRAYS] : null;
      const values = () => Array.from({ length }, (_, i) => scalar(view, type, start + i * size));
      return {
        length,
        elementType: type === 7 ? 'boolean' : 'number',
        values,
        at,
        find: () => new Map(),
        ...(Numbers ? { numbers: () => new Numbers(bytes.slice(start, start + size * length).buffer) } : {}),
      };
    }
    const starts = new Uint32Array(length);
    const lengths = new Uint32Array(length);
    const end = bytes.length;
    for (let i = 0; i < length; i++) {
      // What lies within the bytes takes no calls: a vocabulary has 100,000 texts.
      const start = this.at + 8;
      const size = start <= end && view.getUint32(start - 4, true) === 0 ? view.getUint32(start - 8, true) : end;
      if (start + size <= end) this.at = start + size;
      else this.#take(this.#length(what), what);
      lengths[i] = size;
      starts[i] = start;
    }
    const packed = { bytes, starts, lengths };
    return {
      length,
      elementType: 'string',
      values: () => decodeTexts(packed),
      at: (i) => (i < length ? textAt(packed, i) : undefined),
      find: (texts) => findTexts(packed, texts),
      packed,
    };
  }

  /** How many bytes of a text follow. */
  #length(what: string): number {
    const length = this.u64();
    if (length > this.fileSize - this.at)
      throw this.fail(`${what} has ${length} bytes, but only ${this.fileSize - this.at} bytes follow`);
    return length;
  }

  #take(length: number, what: string): number {
    const { at } = this;
    const end = at + length;
    if (end > this.fileSize) throw this.fail(`ends within ${what} at byte ${this.fileSize}`);
    if (end > this.bytes.length) throw new NeedsMore();
    this.at = end;
    return at;
  }
}

function scalar(view: DataView, type: number, at: number): number | bigint | boolean {
  switch (type) {
    case 0:
      return view.getUint8(at);
    case 1:
      return view.getInt8(at);
    case 2:
      return view.getUint16(at, true);
    case 3:
      return view.getInt16(at, true);
    case 4:
      return view.getUint32(at, true);
    case 5:
      return view.getInt32(at, true);
    case 6:
      return view.getFloat32(at, true);
    case 7:
      return view.getUint8(at) !== 0;
    case 10:
      return small(view.getBigUint64(at, true));
    case 11:
      return small(view.getBigInt64(at, true));
    default:
      return view.getFloat64(at, true);
  }
}

function small(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** A name from the file. */
const quote = (text: string): string => show(text, 200);
