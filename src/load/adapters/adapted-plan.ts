/**
 * @file What adapters make of the plan of a model, and the adapters of a model that is loaded.
 */
import type { OpenAdapter } from '../../adapters/read/adapter-files.ts';
import type { AdapterToOpen } from '../../adapters/read/open-all.ts';
import { AdapterRegistry, type LiveMaker } from '../../adapters/registry.ts';
import type { Checkpoint } from '../../checkpoint/types.ts';
import type { Config } from '../../config/config.ts';
import type { Stepper } from '../../step/stepper.ts';
import type { ModelPlan, PrepareRequest } from '../model-plan.ts';

/** The checkpoint of a loaded model and its plan, opened again. */
export type ReopenBase = () => Promise<{ readonly checkpoint: Checkpoint; readonly plan: ModelPlan }>;
/** Opens an adapter by its path. */
export type OpenByPath = (path: string) => Promise<OpenAdapter>;

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
  adaptersFor(stepper: Stepper, reopen: ReopenBase, openAdapter?: OpenByPath): Promise<AdapterRegistry>;
  close(): Promise<void>;
}

/** What opens adapters. It is loaded with the first of them. */
export type AdapterTools = Pick<typeof import('./open-merged.ts'), 'openMerged'> & LiveMaker;

/** What the adapters of a loaded model are put together from. */
export interface LoadedAdaptersParts {
  readonly config: Config;
  /** Adapters that are part of the weights. */
  readonly merged: readonly AdapterToOpen[];
  readonly stepper: Stepper;
  readonly reopen: ReopenBase;
  /** One module for all that adapters take: with more of them a page loads more at its start. */
  readonly load: () => Promise<AdapterTools>;
  readonly openAdapter?: OpenByPath;
}

export function loadedAdapters(parts: LoadedAdaptersParts): AdapterRegistry {
  const { config, merged, stepper, reopen, load, openAdapter } = parts;
  return new AdapterRegistry({
    ...{ config, load, openAdapter },
    withoutHooks: (hooks) => stepper.withoutHooks(hooks),
    openBase: async () => {
      const { openMerged } = await load();
      const again = await reopen();
      const { base, rows, close } = await openMerged(again.checkpoint, again.plan, merged);
      const closeAll = async () => {
        await close();
        await again.checkpoint.close();
      };
      return { base, rows, close: closeAll };
    },
  });
}
