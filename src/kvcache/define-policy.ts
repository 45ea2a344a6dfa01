/**
 * @file A policy of one's own, without a class.
 */
import { InputError } from '../errors.ts';
import { AttnWeightsKVCache, type ScoreOptions } from './attn-weights.ts';
import type { Need } from './kv-cache.ts';
import type { PolicyOptions, PolicyRow } from './policies.ts';
import type { CacheShape } from './shape.ts';
import type { GroupView, LayerView } from './view.ts';

/** What a policy says of itself. At least one of `score` and `keep` must be there. */
export interface PolicyDefinition {
  readonly name: string;
  readonly summary?: string;
  /** What it wants to see of the attention; `group.weights` has one array for each, in this order. */
  readonly needs?: readonly Need[];
  /** Whether each query group decides for itself; true unless stated. */
  readonly perGroup?: boolean;
  /** Tokens at the start that stay, unless the cache's options say otherwise; 0 unless stated. */
  readonly sinks?: number;
  /** Of the newest tokens so many stay, unless the options say otherwise; an eighth of the budget unless stated. */
  readonly recent?: (budget: number) => number;
  /** Numbers kept for each slot (`group.columns`), the score included; 1 unless stated. */
  readonly columns?: number;
  /** The prompt's last chunk should have this many tokens. */
  readonly promptTail?: number;
  /**
   * Called for each group after every chunk, before anything goes. It may change `group.scores`, which move with their slots
   * and start at 0, and may return values to rank the slots by (otherwise the scores): the higher stay.
   */
  readonly score?: (group: GroupView, layer: LayerView) => ArrayLike<number> | undefined;
  /** In place of a ranking: which candidates stay, as their indices; at most `layer.budget`. */
  readonly keep?: (group: GroupView, layer: LayerView) => Iterable<number>;
}

/**
 * Makes a policy for `createCache({ policy })` of functions. Sinks, recent tokens, order, batches, chunks of any length and
 * quantised buffers are taken care of.
 * @throws InputError where the definition lacks something.
 */
export function definePolicy(definition: PolicyDefinition): PolicyRow {
  const { name, summary = 'a policy of your own', score, keep } = definition;
  if (typeof name !== 'string' || name === '') throw new InputError('a policy needs a name');
  for (const [key, value] of Object.entries({ score, keep }))
    if (value !== undefined && typeof value !== 'function')
      throw new InputError(`the policy ${name}: ${key} must be a function`);
  if (!score && !keep) throw new InputError(`the policy ${name} needs a function score, or keep`);

  class DefinedKVCache extends AttnWeightsKVCache {
    readonly policy = name;
    override readonly promptTail = definition.promptTail ?? 0;
    /** Values of the groups, where the definition gave some. */
    readonly #values: (ArrayLike<number> | null)[] = [];

    constructor(shape: CacheShape, options: ScoreOptions) {
      super(shape, options, definition);
    }

    protected override score(group: GroupView, layer: LayerView): void {
      const values = score?.(group, layer) ?? null;
      if (values && values.length < group.length)
        throw new InputError(`the policy ${name} gave ${values.length} values for ${group.length} candidates`);
      this.#values[group.index] = values;
    }

    protected override rank(group: GroupView, _layer: LayerView): void {
      const values = this.#values[group.index] ?? group.scores;
      for (let j = 0; j < group.length; j++) group.values[j] = values[j];
    }

    protected override select(layer: LayerView): void {
      if (!keep) {
        super.select(layer);
        return;
      }
      for (const group of layer.groups) {
        if (group.kept <= layer.budget) continue;
        keepThese(group, layer, keep(group, layer), name);
      }
    }
  }
  return { name, summary, cache: DefinedKVCache as new (shape: CacheShape, options: PolicyOptions) => DefinedKVCache };
}

/** @throws InputError for indices that are no candidates, and for more than the budget. */
function keepThese(group: GroupView, { budget }: LayerView, indices: Iterable<number>, name: string): void {
  const seen = group.keep.slice(0, group.length);
  group.keep.fill(0, 0, group.length);
  let count = 0;
  for (const j of indices) {
    if (!Number.isInteger(j) || j < 0 || j >= group.length)
      throw new InputError(`the policy ${name} keeps candidate ${j}, but there are ${group.length}`);
    if (seen[j] === 0 || group.keep[j] === 1) continue; // hidden by the window, or named twice
    group.keep[j] = 1;
    count++;
  }
  if (count > budget) throw new InputError(`the policy ${name} keeps ${count} slots, but the budget is ${budget}`);
}
