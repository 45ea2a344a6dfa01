/**
 * @file Several adapters, opened and read for one base.
 */
import type { Checkpoint } from '../../checkpoint/types.ts';
import { InputError } from '../../util/errors.ts';
import { BaseModel, type BasePlan } from '../base-model.ts';
import type { WeightedAdapter } from '../types.ts';
import type { OpenAdapter } from './adapter-files.ts';

/** An adapter to open. */
export interface AdapterToOpen {
  /** Opens its files; may be called more than once. */
  readonly open: () => Promise<OpenAdapter>;
  /** 0 leaves the base as it is, 1 (the default) is what was trained. */
  readonly weight?: number;
}

export interface OpenedAdapters {
  readonly base: BaseModel;
  readonly adapters: readonly WeightedAdapter[];
  readonly fingerprints: readonly string[];
  close(): Promise<void>;
}

/** @throws AdapterError, CheckpointError, InputError: what is wrong with an adapter; all files are closed then. */
export async function openAll(
  checkpoint: Checkpoint,
  plan: BasePlan,
  requests: readonly AdapterToOpen[],
): Promise<OpenedAdapters> {
  for (const [i, { weight = 1 }] of requests.entries())
    if (!Number.isFinite(weight))
      throw new InputError(`adapters[${i}]: weight must be a finite number, but is ${weight}`);
  const base = new BaseModel(checkpoint, plan);
  const opened: OpenAdapter[] = [];
  const close = async () => {
    for (const adapter of opened) await adapter.close();
  };
  const adapters: WeightedAdapter[] = [];
  try {
    for (const { open, weight = 1 } of requests) {
      const files = await open();
      opened.push(files);
      adapters.push({ adapter: await files.readFor(base), weight });
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { base, adapters, fingerprints: opened.map(({ fingerprint }) => fingerprint), close };
}
