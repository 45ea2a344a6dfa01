/**
 * @file A base with the adapters that are merged into it, opened.
 */
import { MergedModel } from '../../adapters/merge/merged-model.ts';
import { type AdapterToOpen, type OpenedAdapters, openAll } from '../../adapters/read/open-all.ts';
import type { Checkpoint } from '../../checkpoint/types.ts';
import type { ModelPlan } from '../model-plan.ts';

export interface OpenMerged extends OpenedAdapters {
  readonly rows: MergedModel;
}

/** @throws AdapterError, CheckpointError, InputError: what is wrong with an adapter; all files are closed then. */
export async function openMerged(
  checkpoint: Checkpoint,
  plan: ModelPlan,
  requests: readonly AdapterToOpen[],
): Promise<OpenMerged> {
  const opened = await openAll(checkpoint, plan, requests);
  try {
    return { ...opened, rows: new MergedModel(opened.base, opened.adapters) };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
