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
  const hashes: string[] = new Array(pieces.length);
  // What passes by is given as it is asked for.
  const runs = source.readPassing ? pieces.map((_, i) => [i]) : neighbours(pieces);
  const atOnce = source.readPassing ? runs.length : AT_ONCE;
  const read: Read = (offset, length) => (source.readPassing ?? source.read).call(source, offset, length);
  const hashRun = async (run: readonly number[]): Promise<void> => {
    const start = pieces[run[0]].offset;
    const { offset, length } = pieces[run[run.length - 1]];
    const bytes = await read(start, offset + length - start);
    for (const i of run) {
      const from = pieces[i].offset - start;
      hashes[i] = sha256(bytes.subarray(from, from + pieces[i].length));
    }
  };
  for (let i = 0; i < runs.length; i += atOnce) await Promise.all(runs.slice(i, i + atOnce).map(hashRun));
  return sha256(hashes.join());
}

/** The pieces by their offsets, those together that are read at once: a read takes as long as some 30 kB of it. */
function neighbours(pieces: readonly ByteRange[]): number[][] {
  const order = [...pieces.keys()].sort((a, b) => pieces[a].offset - pieces[b].offset);
  const runs: number[][] = [];
  let end = Number.NEGATIVE_INFINITY;
  for (const i of order) {
    const { offset, length } = pieces[i];
    if (offset >= end && offset - end < SAMPLE_BYTES) runs[runs.length - 1].push(i);
    else runs.push([i]);
    end = offset + length;
  }
  return runs;
}

function samplesOf({ offset, length }: ByteRange, ends: boolean): ByteRange[] {
  if (length <= SAMPLE_BYTES) return [{ offset, length }];
  const last = offset + length - SAMPLE_BYTES;
  const starts = [offset + Math.floor((length - SAMPLE_BYTES) / 2), ...(ends ? [offset, last] : [])];
  return starts.map((start) => ({ offset: start, length: SAMPLE_BYTES }));
}
