/**
 * @file Loads the model that a command names, with progress.
 */
import type { AnyCacheOptions } from '../../exports/policies.ts';
import type { EncoderModel, LanguageModel, Reranker } from '../../index.ts';
import type { EncoderLoadOptions, WorkerModel } from '../../node.ts';
import { hubOptions, type LoadFlags } from '../input/options.ts';
import type { CliIo } from '../io.ts';
import { loadProgress, type Progress } from '../output/progress.ts';

export async function loadForCommand(flags: LoadFlags, io: CliIo, progress: Progress): Promise<LanguageModel> {
  // The engine is a native library: commands without a model do not load it.
  const { loadModel } = await import('../../node.ts');
  return ended(progress, loadModel(flags.model, loadOptions(flags, io, progress)));
}

export async function loadEncoderForCommand(flags: LoadFlags, io: CliIo, progress: Progress): Promise<EncoderModel> {
  const { loadEncoder } = await import('../../node.ts');
  return ended(progress, loadEncoder(flags.model, loadOptions(flags, io, progress)));
}

export async function loadRerankerForCommand(flags: LoadFlags, io: CliIo, progress: Progress): Promise<Reranker> {
  const { loadReranker } = await import('../../node.ts');
  return ended(progress, loadReranker(flags.model, loadOptions(flags, io, progress)));
}

/** The model in a thread of its own. */
export async function loadInWorkerForCommand(flags: LoadFlags, io: CliIo, progress: Progress): Promise<WorkerModel> {
  const { loadModelInWorker } = await import('../../node.ts');
  const { hub, ...options } = loadOptions(flags, io, progress);
  // A function can't go to the thread.
  const { onRetry: _, ...plainHub } = hub ?? {};
  return ended(progress, loadModelInWorker(flags.model, { ...options, hub: plainHub }));
}

/** Waits for the work that a progress is of, and ends the progress. */
async function ended<T>(progress: Progress, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } finally {
    progress.end();
  }
}

/** Measures what a cache of these options needs to know of the model, where that is not known yet; a line says so. */
export async function calibrateForCommand(
  model: LanguageModel,
  cache: Partial<AnyCacheOptions>,
  io: CliIo,
  progress: Progress,
): Promise<void> {
  const calibrated = model.calibrateFor(cache, {
    signal: io.signal,
    start: () => progress.note('The model is calibrated for this cache. It is done once; keyhold calibrate says more.'),
    onProgress: (done, total) => progress.update({ label: 'Calibrating', done, total, unit: 'tokens' }),
  });
  await ended(progress, calibrated);
}

function loadOptions(flags: LoadFlags, io: CliIo, progress: Progress): EncoderLoadOptions {
  const { weights, threads, engine, device, adapter, liveAdapters } = flags;
  return {
    weights,
    threads,
    engine,
    device,
    adapters: adapter?.map((one, i) => ({ ...one, live: liveAdapters, name: one.name ?? `${i + 1}` })),
    hub: hubOptions(flags, progress),
    signal: io.signal,
    onProgress: loadProgress(progress),
  };
}
