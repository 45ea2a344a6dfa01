/**
 * @file What both builds of ONNX Runtime for browsers share: their calls one after the other, their weights, and what their errors mean.
 */
import { GraphError, InputError, KeyholdError, MemoryError } from '../../util/errors.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { OnnxModel } from './lower/lower.ts';

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

/** A model's bytes, and its weights as a file for each tensor: no array has to hold them all. */
export async function sessionFiles(model: OnnxModel, weights: PreparedWeights): Promise<SessionFiles> {
  const { read } = weights;
  if (!read) throw new InputError('weights in a browser need a reader');
  const externalData = await Promise.all(
    [...model.weights].map(async (name) => {
      const { offset, length } = weights.params.get(name)!;
      return { path: name, data: await read(offset, length) };
    }),
  );
  const bytes = model.serialize(weights, ({ name, length }) => ({ location: name, offset: 0, length }));
  return { bytes, externalData };
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

/** Its words for "no memory"; a bare number is the address of a C++ exception, which is bad_alloc in all cases that were seen. */
const NO_MEMORY =
  /bad_alloc|out of memory|memory access out of bounds|array buffer allocation|invalid array length|^\d+$/i;

/** What an error of ONNX Runtime means. */
export function readable(what: string, bytes: number, cause: unknown): KeyholdError {
  if (cause instanceof KeyholdError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (NO_MEMORY.test(message)) {
    const asked = bytes > 0 ? `, which needs ${Math.ceil(bytes / 1e6)} MB for the weights twice over for a moment` : '';
    return new MemoryError(
      `there is not enough memory for ${what}${asked} (${message}); ` +
        'use a smaller model or budget, or close other tabs',
      { cause },
    );
  }
  return new GraphError(`${what} failed in ONNX Runtime: ${message}`, { cause });
}
