/**
 * @file Tokens that are read through a cache chunk by chunk, and what that took.
 */
import type { DecoderModel } from '../engine/model.ts';
import { type PrefillOptions, type PrefillStep, prefillSteps } from '../engine/schedule/prefill.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { CostMeter } from './cost.ts';

/** Tokens of a chunk in evaluations; a policy decides after each chunk. */
export const EVAL_CHUNK = 64;

/** The steps of {@link prefillSteps}; the meter counts the time in them, and not that of the caller between them. */
export async function* meteredSteps(
  model: DecoderModel,
  cache: KVCache,
  tokens: readonly number[],
  options: PrefillOptions,
  meter: CostMeter,
): AsyncGenerator<PrefillStep> {
  const steps = prefillSteps(model, cache, tokens, options);
  let done = 0;
  for (;;) {
    const begin = performance.now();
    const { value, done: ended } = await steps.next();
    if (ended) return;
    meter.add(performance.now() - begin, value.done - done);
    done = value.done;
    yield value;
  }
}
