/**
 * @file A model that is loaded with adapters: some merged into the weights that are prepared, some live beside them.
 */
import type { AdapterUse } from '../../adapters/choice.ts';
import { makeLive, makePrefixesLive } from '../../adapters/live/live-adapter.ts';
import { batchAdapters, usedAdapters } from '../../adapters/live/row-inputs.ts';
import type { Checkpoint } from '../../checkpoint/types.ts';
import { isEncoder } from '../../config/config.ts';
import { AdapterError } from '../../util/errors.ts';
import { sha256 } from '../../util/sha256.ts';
import { type ModelPlan, paramsOf } from '../model-plan.ts';
import { type AdaptedPlan, type AdapterRequest, type AdapterTools, loadedAdapters } from './adapted-plan.ts';
import { openMerged } from './open-merged.ts';

export const tools: AdapterTools = { openMerged, makeLive, batchAdapters, usedAdapters };

/** @throws AdapterError, CheckpointError, InputError: what is wrong with an adapter. */
export async function mergedPlan(
  checkpoint: Checkpoint,
  plan: ModelPlan,
  requests: readonly AdapterRequest[],
): Promise<AdaptedPlan> {
  const mergedRequests = requests.filter((request) => !request.live);
  const liveRequests = requests.filter((request) => request.live);
  const { base, rows: merged, adapters, fingerprints, close } = await openMerged(checkpoint, plan, mergedRequests);
  try {
    for (const { adapter } of adapters)
      if (isEncoder(plan.config) && adapter.prefixes.size > 0)
        throw new AdapterError(`${adapter.name}: encoders can't attend to prefixes`);
    const none = adapters.length === 0;
    const marks = fingerprints.map((fingerprint, i) => [fingerprint, adapters[i].weight]);
    return {
      config: merged.config,
      request: {
        // A head that is tied no longer is a parameter more.
        specs: merged.config === plan.config ? plan.params : paramsOf({ ...plan, config: merged.config }, plan.target),
        format: plan.format,
        identity: none ? checkpoint.identity : merged.identity,
        source: (param) => (none ? plan.resolver.source(param) : merged.source(param)),
      },
      fingerprint: none ? '' : `:${sha256(JSON.stringify(marks))}`,
      close,
      async adaptersFor(stepper, reopen, openAdapter) {
        const prefixes = await Promise.all(adapters.map(({ adapter }) => makePrefixesLive(adapter, base)));
        const fixed = prefixes.flatMap((adapter, i) => (adapter ? [{ adapter, weight: adapters[i].weight }] : []));
        const { config } = merged;
        const load = async () => tools;
        const all = loadedAdapters({ config, merged: mergedRequests, stepper, reopen, load, openAdapter });
        await all.fix(fixed);
        const uses: AdapterUse[] = [];
        for (const { open, weight = 1, ...request } of liveRequests) {
          const { name } = request.live!;
          const files = await open();
          try {
            await all.loadFor({ base, rows: merged }, files, name);
          } finally {
            await files.close();
          }
          uses.push({ name, weight });
        }
        if (uses.length > 0) all.use(uses);
        return all;
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
