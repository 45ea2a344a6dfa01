/**
 * @file Loads the model that a command names, with progress, and says more where there is none of that name.
 */
import { existsSync } from 'node:fs';
import { HubError, type LanguageModel } from '../index.ts';
import type { CliIo } from './io.ts';
import { hubOptions, type LoadFlags } from './options.ts';
import { loadProgress, type Progress } from './progress.ts';

export async function loadForCommand(flags: LoadFlags, io: CliIo, progress: Progress): Promise<LanguageModel> {
  // The runtime is a native library: what needs no model shall not wait for it.
  const { loadModel } = await import('../node.ts');
  const { model, weights, threads } = flags;
  try {
    return await loadModel(model, {
      weights,
      threads,
      adapters: flags.adapter?.map((adapter, i) => ({ ...adapter, live: flags.liveAdapters, name: `${i + 1}` })),
      hub: hubOptions(flags),
      signal: io.signal,
      onProgress: loadProgress(progress),
    });
  } catch (error) {
    throw explain(error, model);
  } finally {
    progress.end();
  }
}

/** A mistyped path looks like a name on the hub: says so where a path may have been meant. */
export function explain(error: unknown, model: string): unknown {
  const first = model.split('/')[0];
  if (!(error instanceof HubError) || (first !== model && !existsSync(first))) return error;
  const hint = `There is no file or folder ${model} here, so it was looked for on the hub.`;
  return new HubError(`${error.message} ${hint}`, error.status, { cause: error });
}
