/**
 * @file What says which bytes a checkpoint has.
 */
import { hashSamples } from '../util/sample.ts';
import { sha256 } from '../util/sha256.ts';
import type { ByteSource, Checkpoint, TensorRange } from './types.ts';

/** A weight file whose header was read. */
export interface OpenedFile {
  readonly source: ByteSource;
  readonly tensors: readonly TensorRange[];
}

/**
 * The identity of a checkpoint, and its fingerprint.
 * @param headers what the files say besides their tensors' values, as hashes.
 */
export async function identify(
  files: readonly OpenedFile[],
  headers: readonly unknown[],
): Promise<Pick<Checkpoint, 'identity' | 'fingerprint'>> {
  for (const { source, tensors } of files) source.onTensors?.(tensors);
  const states = files.map(({ source }) => [source.stamp ?? source.name, source.size]);
  const sample = async (): Promise<string> => {
    const samples = files.map(({ source, tensors }) => hashSamples(source, source.isRemote ? [] : tensors));
    return sha256(JSON.stringify([...headers, await Promise.all(samples)]));
  };
  const fingerprint = sample();
  if (files.some(({ source }) => source.readPassing)) {
    // The samples come when the weights are read; until then the stamps say which commit it is.
    fingerprint.catch(() => undefined);
    return { identity: sha256(JSON.stringify([states, ...headers])), fingerprint: () => fingerprint };
  }
  const value = await fingerprint;
  return { identity: sha256(JSON.stringify([states, value])), fingerprint: async () => value };
}
