/**
 * @file What both builds of ONNX Runtime for browsers share: their calls one after the other, their weights, and what
 * their errors mean.
 */
import { GraphError, InputError, KeyholdError, MemoryError } from '../../util/errors.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { OnnxModel } from './lower/lower-by.ts';

/** ONNX Runtime was seen to stop without an answer; a session takes 2.4 s for 538 MB. */
const SILENCE_MS = 180_000;

/** Each session has its own copy of the weights: in a heap of 4 GiB at most, or in the memory of a GPU. */
const MAX_WEIGHT_BYTES = 1.5 * 2 ** 30;

export const keptGraphs = ({ size }: PreparedWeights): number => Math.max(1, Math.floor(MAX_WEIGHT_BYTES / size));

/** What a session is made of. */
export interface SessionFiles {
  readonly bytes: Uint8Array;
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
}

/**
 * Makes a session of a model's bytes, and of its weights as a file for each tensor: no array has to hold them all. Each
 * tensor's memory is given back when ONNX Runtime copies the next one, so weights are in memory once: 538 MB of them
 * took 1,550 MB at the peak before. Where ONNX Runtime reads a tensor twice, the session is made again of files that
 * stay.
 * @throws what `create` throws.
 */
export async function makeSession<S>(
  model: OnnxModel,
  weights: PreparedWeights,
  create: (files: SessionFiles) => Promise<S>,
): Promise<S> {
  const passing = new PassingFiles();
  try {
    return await create(await sessionFiles(model, weights, (bytes) => passing.add(bytes)));
  } catch (error) {
    if (!passing.isMissed) throw error;
    return create(await sessionFiles(model, weights, (bytes) => bytes));
  }
}

async function sessionFiles(
  model: OnnxModel,
  weights: PreparedWeights,
  fileOf: (bytes: Uint8Array) => Uint8Array,
): Promise<SessionFiles> {
  const { read } = weights;
  if (!read) throw new InputError('weights in a browser need a reader');
  const externalData: { path: string; data: Uint8Array }[] = [];
  for (const [name, constants] of model.weights) {
    const { offset, length } = weights.params.get(name)!;
    const data = await read(offset, length);
    // Each constant of the graph is a file that ONNX Runtime reads.
    externalData.push({ path: name, data: constants === 1 ? fileOf(data) : data });
  }
  const bytes = model.serialize(weights, ({ name, length }) => ({ location: name, offset: 0, length }));
  return { bytes, externalData };
}

/** Files that ONNX Runtime copies one after the other. */
class PassingFiles {
  /** Whether a file was read whose memory was given back. */
  isMissed = false;
  #last: Uint8Array | null = null;

  add(bytes: Uint8Array): Uint8Array {
    return new PassingFile(bytes, this);
  }

  /** The files that were read before are copied. */
  reads(file: Uint8Array): void {
    if (this.#last === file) return;
    if (this.#last) free(this.#last.buffer as ArrayBuffer);
    this.#last = file;
  }
}

/** Empties an array's memory. Browsers from before 2024 give it back with the next collection. */
function free(buffer: ArrayBuffer & { transfer?(length: number): ArrayBuffer }): void {
  if (buffer.transfer) buffer.transfer(0);
  else structuredClone(buffer, { transfer: [buffer] });
}

/** Bytes as ONNX Runtime's script reads them: first their length, then a part of them, which it copies. */
class PassingFile extends Uint8Array {
  static get [Symbol.species]() {
    return Uint8Array;
  }

  readonly #files: PassingFiles;

  constructor(bytes: Uint8Array, files: PassingFiles) {
    super(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
    this.#files = files;
  }

  override get byteLength(): number {
    const length = super.byteLength;
    if (length === 0) this.#files.isMissed = true;
    return length;
  }

  override subarray(start?: number, end?: number): Uint8Array<ArrayBuffer> {
    this.#files.reads(this);
    return super.subarray(start, end) as Uint8Array<ArrayBuffer>;
  }
}

/** One call at a time: two sessions made at once, or a step while one is made, fail or corrupt memory. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve();

  /** @param bytes that the call asks for, for messages. */
  run<T>(what: string, bytes: number, call: () => Promise<T>): Promise<T> {
    const result = this.#last.then(async () => {
      try {
        return await inTime(what, call());
      } catch (cause) {
        throw readable(what, bytes, cause);
      }
    });
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** @throws GraphError where there is no answer. */
function inTime<T>(what: string, call: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    const message = `${what} in ONNX Runtime gave no answer for ${SILENCE_MS / 1000} s; load the model again`;
    timer = setTimeout(() => reject(new GraphError(message)), SILENCE_MS);
  });
  return Promise.race([call, silence]).finally(() => clearTimeout(timer));
}

/**
 * Its words for "no memory"; a bare number is the address of a C++ exception, which is bad_alloc in all cases that were
 * seen.
 */
const NO_MEMORY =
  /bad_alloc|out of memory|memory access out of bounds|array buffer allocation|invalid array length|^\d+$/i;

/** What an error of ONNX Runtime means. */
export function readable(what: string, bytes: number, cause: unknown): KeyholdError {
  if (cause instanceof KeyholdError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (NO_MEMORY.test(message)) {
    const asked = bytes > 0 ? `, which needs ${Math.ceil(bytes / 1e6)} MB for the weights` : '';
    return new MemoryError(
      `there is not enough memory for ${what}${asked} (${message}); ` +
        'use a smaller model or budget, or close other tabs',
      { cause },
    );
  }
  return new GraphError(`${what} failed in ONNX Runtime: ${message}`, { cause });
}
