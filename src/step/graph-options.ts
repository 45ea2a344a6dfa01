/**
 * @file Which graph a step of a cache runs on: its options, and a key that is the same for the same graph.
 */
import { buffersOf } from '../kvcache/buffers.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { queryStepOf } from '../kvcache/policy/needs.ts';
import type { StepGraphOptions } from '../model/gpt.ts';
import { type NamedParts, partNames } from './part-names.ts';

/** What one step wants besides what its cache does. */
export interface StepWants {
  /** Whether the residual streams and the weights of all queries are wanted. @default false */
  readonly isProbed?: boolean;
  /** Whether the chunk has its copy behind it. @default false */
  readonly isReplayed?: boolean;
}

/** @param parts they are found once for a cache. */
export function graphOptions(
  cache: KVCache,
  { summed, echoed, echoedWhole, merged }: NamedParts,
  { isProbed = false, isReplayed = false }: StepWants,
): StepGraphOptions {
  const { buffer, rules, store, replay } = cache;
  return {
    sharing: rules.layout.sharing,
    buffer: buffersOf(buffer),
    sums: isProbed ? partNames(cache, () => true) : summed,
    sumStep: isProbed ? 1 : queryStepOf(rules.needs),
    maxima: rules.needs.includes('max'),
    echo: replay ? null : echoed,
    echoOfHeld: replay ? null : echoedWhole,
    replay: isReplayed ? echoed : null,
    moments: isProbed ? 'rotated' : rules.needsQueries,
    alongMean: rules.needsAlongMean,
    cross: store.crossAttention.any,
    parts: store.parts,
    merged,
    residuals: isProbed,
  };
}

/** Every option is in the key, also one that is new. Adapters are not: they have keys of their own. */
export function graphKey(options: Omit<StepGraphOptions, 'adapters'>): string {
  return JSON.stringify(options, (_, value: unknown) =>
    value instanceof Set || value instanceof Map ? textOf(value) : value,
  );
}

/** Of sets and maps that a cache keeps: each step asks for its key, and the parts of all layers are some KB. */
const TEXTS = new WeakMap<object, string>();

function textOf(value: ReadonlySet<unknown> | ReadonlyMap<unknown, unknown>): string {
  let text = TEXTS.get(value);
  if (text === undefined) {
    text = JSON.stringify([...value]);
    TEXTS.set(value, text);
  }
  return text;
}
