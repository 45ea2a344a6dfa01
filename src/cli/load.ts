/**
 * @file Loads the model that a command names, with progress.
 */
import type { LanguageModel } from '../index.ts';
import type { CliIo } from './io.ts';
import { hubOptions, type LoadFlags } from './options.ts';
import { loadProgress, type Progress } from './progress.ts';

export async function loadForCommand(flags: LoadFlags, io: CliIo, progress: Progress): Promise<LanguageModel> {
  // The engine is a native library: commands without a model do not load it.
  const { loadModel } = await import('../node.ts');
  const { model, weights, threads, engine } = flags;
  try {
    return await loadModel(model, {
      weights,
      threads,
      engine,
      adapters: flags.adapter?.map((adapter, i) => ({ ...adapter, live: flags.liveAdapters, name: `${i + 1}` })),
      hub: hubOptions(flags, progress),
      signal: io.signal,
      onProgress: loadProgress(progress),
    });
  } finally {
    progress.end();
  }
}
