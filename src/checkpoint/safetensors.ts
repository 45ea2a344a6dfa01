/**
 * @file The safetensors format: a header that says which tensor lies where, and the bytes of the tensors.
 *
 * The header is checked as strictly as the reference implementation checks it, before anything is read or allocated by
 * it.
 */
import { DTYPE_BYTES } from '../util/dtypes.ts';
import { CheckpointError, InputError } from '../util/errors.ts';
import { widenInto } from '../util/half.ts';
import { isObject } from '../util/json/is-object.ts';
import { findJsonFlaw } from '../util/json/json-keys.ts';
import { show } from '../util/json/show.ts';
import { placeholderAdvice } from './instead.ts';
import type { ByteSource, StoredDtype, StoredTensor, TensorRange } from './types.ts';

/** The same limit as in the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_RANK = 16;
/** Header, entry, array: nothing in a valid header is nested deeper. */
const MAX_DEPTH = 3;
/**
 * Tensors are read in pieces of this many bytes (a multiple of every element size), so that a large one is not held
 * twice.
 */
const PIECE_BYTES = 1 << 24;

/** A safetensors file whose header was read and found consistent. */
export interface SafetensorsFile {
  /** In the order in which they lie in the file. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The bytes of the header, to tell files apart. */
  readonly header: Uint8Array;
  /** Where the tensors' bytes are in the file. */
  readonly ranges: readonly TensorRange[];
}

interface Entry {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly begin: number;
  readonly end: number;
}

/**
 * Reads and checks the header of a safetensors file. The tensors stay where they are until they are asked for,
 * and can be read for as long as `source` is open.
 *
 * @throws CheckpointError for a file that is truncated, damaged, or lies about itself; names the file and the tensor.
 */
export async function readSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const fail: Fail = (what, advice = 'the file is damaged or incomplete; download or convert it again') =>
    new CheckpointError(`${source.name}: ${what}; ${advice}`);
  if (source.size < 8) throw fail(`has ${source.size} bytes, too few for a safetensors file`);
  const lengthBytes = await source.read(0, 8);
  const view = new DataView(lengthBytes.buffer, lengthBytes.byteOffset, 8);
  const length = view.getUint32(4, true) * 4294967296 + view.getUint32(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw fail(
      `announces a header of ${length} bytes, above the limit of ${MAX_HEADER_BYTES} (is this a safetensors file?)`,
      placeholderAdvice(await source.read(0, Math.min(40, source.size))),
    );
  }
  if (length > source.size - 8) {
    throw fail(`announces a header of ${length} bytes, but only ${source.size - 8} bytes follow`);
  }
  const header = await source.read(8, length);
  const parsed = parseHeader(header, fail);
  const dataStart = 8 + length;
  checkMetadata(parsed['__metadata__'], fail);
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(parsed))
    if (name !== '__metadata__') entries.push(readEntry(name, value, source.size - dataStart, fail));
  checkLayout(entries, source.size - dataStart, fail);
  const tensors = new Map<string, StoredTensor>();
  for (const entry of [...entries].sort(byBegin)) tensors.set(entry.name, storedTensor(source, dataStart, entry));
  const ranges = entries.map(({ name, begin, end }) => ({ name, offset: dataStart + begin, length: end - begin }));
  return { tensors, header, ranges };
}

type Fail = (what: string, advice?: string) => CheckpointError;

function parseHeader(header: Uint8Array, fail: Fail): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    throw fail('the header is not valid UTF-8');
  }
  if (!text.startsWith('{')) throw fail('the header does not start with "{"');
  const flaw = findJsonFlaw(text, MAX_DEPTH);
  if (flaw?.kind === 'duplicate') throw fail(`the header has two entries ${quote(flaw.key)}`);
  if (flaw?.kind === 'depth') throw fail(`the header is nested deeper than ${MAX_DEPTH} levels`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw fail(`the header is not valid JSON (${quote((cause as Error).message)})`);
  }
  return parsed as Record<string, unknown>;
}

function checkMetadata(value: unknown, fail: Fail): void {
  if (value === undefined) return;
  if (!isObject(value)) throw fail('__metadata__ is not an object');
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw fail(`__metadata__ ${quote(key)} is not a string`);
  }
}

function readEntry(name: string, value: unknown, dataBytes: number, fail: Fail): Entry {
  const tensor = `tensor ${quote(name)}`;
  if (!isObject(value)) throw fail(`${tensor} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string') throw fail(`${tensor} has no dtype`);
  if (!isStoredDtype(dtype)) {
    // Not damaged, just foreign: float8 and packed formats come this way.
    const known = Object.keys(DTYPE_BYTES).join(', ');
    throw fail(
      `${tensor} has the dtype ${quote(dtype)}`,
      `only ${known} are read; use an unquantized version of the model`,
    );
  }
  if (!isSizes(shape)) throw fail(`the shape of ${tensor} is not a list of non-negative integers`);
  if (shape.length > MAX_RANK) throw fail(`${tensor} has ${shape.length} dimensions, above the limit of ${MAX_RANK}`);
  let elements = 1;
  for (const size of shape) {
    elements *= size;
    // Checked at every step: a later zero would hide the overflow of the sizes before it.
    if (!Number.isSafeInteger(elements * DTYPE_BYTES[dtype])) {
      throw fail(`the shape [${shape.join(', ')}] of ${tensor} is too large`);
    }
  }
  const bytes = elements * DTYPE_BYTES[dtype];
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw fail(`the data_offsets of ${tensor} are not two non-negative integers`);
  }
  const [begin, end] = offsets;
  if (begin > end) throw fail(`${tensor} ends at ${end}, before its start at ${begin}`);
  if (end > dataBytes) {
    throw fail(`${tensor} ends at byte ${end} of the data, but the file holds only ${dataBytes} bytes of data`);
  }
  if (end - begin !== bytes) {
    throw fail(`${tensor} has ${end - begin} bytes, but ${dtype} [${shape.join(', ')}] takes ${bytes}`);
  }
  return { name, dtype, shape, elements, begin, end };
}

const byBegin = (a: Entry, b: Entry): number => a.begin - b.begin || a.end - b.end;

/**
 * The tensors must cover the data without overlap or hole, as in the reference implementation: hidden bytes are a risk.
 */
function checkLayout(entries: readonly Entry[], dataBytes: number, fail: Fail): void {
  const sorted = [...entries].sort(byBegin);
  let covered = 0;
  let last: Entry | undefined;
  for (const entry of sorted) {
    if (entry.begin < covered) throw fail(`tensor ${quote(entry.name)} overlaps tensor ${quote(last?.name ?? '')}`);
    if (entry.begin > covered) {
      throw fail(
        `bytes ${covered} to ${entry.begin} of the data, before tensor ${quote(entry.name)}, belong to no tensor`,
      );
    }
    covered = entry.end;
    last = entry;
  }
  if (covered !== dataBytes) throw fail(`the last ${dataBytes - covered} bytes belong to no tensor`);
}

function storedTensor(source: ByteSource, dataStart: number, entry: Entry): StoredTensor {
  const { name, dtype, shape, elements } = entry;
  const size = DTYPE_BYTES[dtype];
  return {
    name,
    dtype,
    shape,
    async readFloats(start, count) {
      checkRange(start, count);
      const out = new Float32Array(count);
      const step = PIECE_BYTES / size;
      for (let done = 0; done < count; done += step) {
        const part = Math.min(step, count - done);
        const offset = dataStart + entry.begin + (start + done) * size;
        widenInto(dtype, await source.read(offset, part * size), out, done);
      }
      return out;
    },
    async readBytes(start, count) {
      checkRange(start, count);
      return source.read(dataStart + entry.begin + start * size, count * size);
    },
  };

  function checkRange(start: number, count: number): void {
    if (isSize(start) && isSize(count) && start + count <= elements) return;
    throw new InputError(
      `elements ${start} to ${start + count} of tensor ${quote(name)} were asked for; it has ${elements}`,
    );
  }
}

function isStoredDtype(dtype: string): dtype is StoredDtype {
  return Object.hasOwn(DTYPE_BYTES, dtype);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isSize);
}

/** A name from the file. */
const quote = (text: string): string => show(text, 200);
