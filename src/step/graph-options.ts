/**
 * @file Which graph a step of a cache runs on: its options, and a key that is the same for the same graph.
 */
import { buffersOf } from '../kvcache/buffers.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { needsBy } from '../kvcache/policy/needs.ts';
import type { StepGraphOptions } from '../model/gpt.ts';
import type { BoundCache } from './bound-cache.ts';

/** What one step wants besides what its cache does. */
export interface StepWants {
  /** Whether the residual streams and the weights of all queries are wanted. @default false */
  readonly isProbed?: boolean;
  /** Whether the chunk has its copy behind it. @default false */
  readonly isReplayed?: boolean;
}

/** @param groups see `BoundCache`: they are found once for a cache. */
export function graphOptions(
  { buffer, rules, store, replay }: KVCache,
  { echoed, merged }: Pick<BoundCache, 'echoed' | 'merged'>,
  { isProbed = false, isReplayed = false }: StepWants,
): StepGraphOptions {
  return {
    sharing: rules.layout.sharing,
    buffer: buffersOf(buffer),
    sums: isProbed || needsBy('sum', rules.needs).length > 0,
    maxima: rules.needs.includes('max'),
    echo: replay ? null : echoed,
    replay: isReplayed ? echoed : null,
    moments: rules.needsQueries,
    alongMean: rules.needsAlongMean,
    cross: store.crossAttention.any,
    ragged: store.raggedLayers,
    merged,
    residuals: isProbed,
  };
}

/** Every option is in the key, also one that is new. Adapters are not: they have keys of their own. */
export function graphKey(options: Omit<StepGraphOptions, 'adapters'>): string {
  return JSON.stringify(options, (_, value: unknown) => (value instanceof Set ? [...value] : value));
}
