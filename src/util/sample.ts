/**
 * @file A hash of samples of tensors: cheap enough for every load, and different where a tensor's values are.
 */
import { sha256 } from './sha256.ts';

/** Bytes of one sample; smaller tensors are read whole. */
const SAMPLE_BYTES = 4096;
/** Samples that are read at the same time. */
const AT_ONCE = 32;

/** Bytes of a file that belong together. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

type Read = (offset: number, length: number) => Promise<Uint8Array>;

/** What is sampled. */
interface Sampled {
  read: Read;
  /** In place of `read`; all samples are then asked for at once. */
  readPassing?: Read;
}

/**
 * The hash of a sample from each range. With `ends`, also of its first and last bytes.
 */
export async function hashSamples(source: Sampled, ranges: readonly ByteRange[], ends = false): Promise<string> {
  const pieces = ranges.flatMap((range) => samplesOf(range, ends));
  const hashes: string[] = [];
  const atOnce = source.readPassing ? pieces.length : AT_ONCE;
  const read: Read = (offset, length) => (source.readPassing ?? source.read).call(source, offset, length);
  for (let i = 0; i < pieces.length; i += atOnce) {
    const some = pieces.slice(i, i + atOnce);
    hashes.push(...(await Promise.all(some.map(async ({ offset, length }) => sha256(await read(offset, length))))));
  }
  return sha256(hashes.join());
}

function samplesOf({ offset, length }: ByteRange, ends: boolean): ByteRange[] {
  if (length <= SAMPLE_BYTES) return [{ offset, length }];
  const last = offset + length - SAMPLE_BYTES;
  const starts = [offset + Math.floor((length - SAMPLE_BYTES) / 2), ...(ends ? [offset, last] : [])];
  return starts.map((start) => ({ offset: start, length: SAMPLE_BYTES }));
}
