/**
 * @file A model that is loaded with adapters: some merged into the weights that are prepared, some live beside them.
 */
import { AdapterBank, type AdapterUse } from '../adapters/bank.ts';
import { makePrefixesLive } from '../adapters/live-adapter.ts';
import { MergedModel } from '../adapters/merged-model.ts';
import { ModelAdapters } from '../adapters/model-adapters.ts';
import { type AdapterToOpen, openAll } from '../adapters/open-all.ts';
import type { OpenAdapter } from '../adapters/read.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { type Config, isEncoder } from '../config/config.ts';
import type { Stepper } from '../step/stepper.ts';
import { AdapterError } from '../util/errors.ts';
import { sha256 } from '../util/sha256.ts';
import { type ModelPlan, type PrepareRequest, paramsOf } from './plan.ts';

/** An adapter to load a model with. */
export interface AdapterRequest extends AdapterToOpen {
  /** Beside the weights, under a name, instead of in them. */
  readonly live?: { readonly name: string };
}

/** A plan with what adapters make of it. */
export interface AdaptedPlan {
  readonly config: Config;
  readonly request: PrepareRequest;
  /** What the adapters add to the checkpoint's fingerprint. */
  readonly fingerprint: string;
  /**
   * @param reopen the checkpoint and its plan, for adapters that are loaded later.
   * @param openAdapter opens one of those by its path.
   */
  adaptersFor(
    stepper: Stepper,
    reopen: () => Promise<{ checkpoint: Checkpoint; plan: ModelPlan }>,
    openAdapter?: (path: string) => Promise<OpenAdapter>,
  ): Promise<ModelAdapters>;
  close(): Promise<void>;
}

/** @throws AdapterError, CheckpointError, InputError: what is wrong with an adapter. */
export async function adaptPlan(
  checkpoint: Checkpoint,
  plan: ModelPlan,
  requests: readonly AdapterRequest[],
): Promise<AdaptedPlan> {
  const mergedRequests = requests.filter(({ live }) => !live);
  const liveRequests = requests.filter(({ live }) => live);
  const { base, adapters, fingerprints, close } = await openAll(checkpoint, plan, mergedRequests);
  try {
    const merged = new MergedModel(base, adapters);
    for (const { adapter } of adapters)
      if (isEncoder(plan.config) && adapter.prefixes.size > 0)
        throw new AdapterError(`${adapter.name}: encoders can't attend to prefixes`);
    const none = adapters.length === 0;
    const marks = fingerprints.map((fingerprint, i) => [fingerprint, adapters[i].weight]);
    return {
      config: merged.config,
      request: {
        specs: merged.config === plan.config ? plan.params : paramsOf(merged.config, plan.format),
        format: plan.format,
        identity: none ? checkpoint.identity : merged.identity,
        source: (param) => (none ? plan.resolver.source(param) : merged.source(param)),
      },
      fingerprint: none ? '' : `:${sha256(JSON.stringify(marks))}`,
      close,
      async adaptersFor(stepper, reopen, openAdapter) {
        const prefixes = await Promise.all(adapters.map(({ adapter }) => makePrefixesLive(adapter, base)));
        const fixed = prefixes.flatMap((adapter, i) => (adapter ? [{ adapter, weight: adapters[i].weight }] : []));
        const bank = new AdapterBank(merged.config, fixed);
        const all = new ModelAdapters({
          bank,
          openAdapter,
          withoutHooks: (hooks) => stepper.withoutHooks(hooks),
          openBase: async () => {
            const again = await reopen();
            const own = await openAll(again.checkpoint, again.plan, mergedRequests);
            const closeAll = async () => {
              await own.close();
              await again.checkpoint.close();
            };
            return { base: own.base, rows: new MergedModel(own.base, own.adapters), close: closeAll };
          },
        });
        const standard: AdapterUse[] = [];
        for (const { open, weight = 1, live } of liveRequests) {
          const { name } = live!;
          const files = await open();
          try {
            await all.loadFor({ base, rows: merged }, files, name);
          } finally {
            await files.close();
          }
          standard.push({ name, weight });
        }
        if (standard.length > 0) all.standard = standard;
        return all;
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
