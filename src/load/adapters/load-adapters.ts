/**
 * @file The plan of a model with its adapters. What reads and merges adapters is loaded with the first of them.
 */
import type { Checkpoint } from '../../checkpoint/types.ts';
import type { ModelPlan } from '../model-plan.ts';
import { type AdaptedPlan, type AdapterRequest, loadedAdapters } from './adapted-plan.ts';

const loadPlan = () => import('./merged-plan.ts');
const load = async () => (await loadPlan()).tools;

/** @throws AdapterError, CheckpointError, InputError: what is wrong with an adapter. */
export async function adaptPlan(
  checkpoint: Checkpoint,
  plan: ModelPlan,
  requests: readonly AdapterRequest[],
): Promise<AdaptedPlan> {
  if (requests.length > 0) {
    const { mergedPlan } = await loadPlan();
    return mergedPlan(checkpoint, plan, requests);
  }
  const { config, params, format, resolver } = plan;
  return {
    config,
    request: {
      ...{ specs: params, format, identity: checkpoint.identity },
      source: (param) => resolver.source(param),
    },
    fingerprint: '',
    close: async () => {},
    adaptersFor: async (stepper, reopen, openAdapter) =>
      loadedAdapters({ config, merged: [], stepper, reopen, load, openAdapter }),
  };
}
