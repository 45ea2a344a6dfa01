/**
 * @file A policy of one's own, without a class.
 */
import { InputError } from '../util/errors.ts';
import { AttnWeightsKVCache, type ScoreOptions } from './attn-weights.ts';
import type { Need } from './kv-cache.ts';
import type { PolicyOptions, PolicyRow } from './policies.ts';
import { isSafe, type SafeTokens } from './select.ts';
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
  /** The prompt's last chunk should have this many tokens; they are the `window` of {@link needs}. */
  readonly promptTail?: number;
  /**
   * Called for each group after every chunk, before anything goes. It may change `group.scores`, which move with their slots
   * and start at 0, and may return values to rank the slots by (otherwise the scores): the higher stay.
   */
  readonly score?: (group: GroupView, layer: LayerView) => ArrayLike<number> | undefined;
  /**
   * In place of a ranking: which candidates stay besides sinks and recent tokens, as their indices, at most `layer.budget`. Where
   * that is too much together, those named first stay.
   */
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
  checkNeeds(definition);

  class DefinedKVCache extends AttnWeightsKVCache {
    readonly policy = name;
    override readonly promptTail = definition.promptTail ?? 0;

    constructor(shape: CacheShape, options: ScoreOptions) {
      super(shape, options, definition);
      if (keep && options.ada)
        throw new InputError(
          `the policy ${name} says what to keep, and has no scores that groups could share a budget by`,
        );
    }

    protected override get scoredByLater(): boolean {
      return super.scoredByLater || score !== undefined;
    }

    protected override needRange(need: Need, fresh: number): readonly [number, number] {
      return need === 'window' ? [Math.max(0, fresh - this.promptTail), fresh] : super.needRange(need, fresh);
    }

    protected override score(group: GroupView, layer: LayerView): void {
      const values = score?.(group, layer) ?? group.scores;
      if (values.length < group.length)
        throw new InputError(`the policy ${name} gave ${values.length} values for ${group.length} candidates`);
      // At once: the next group may be given the same array.
      for (let j = 0; j < group.length; j++) group.values[j] = values[j];
    }

    /** The values are there since the group was scored. */
    protected override rank(): void {}

    protected override select(layer: LayerView): void {
      if (!keep) {
        super.select(layer);
        return;
      }
      const safe = this.safeTokens(layer);
      for (const group of layer.groups)
        if (group.kept > layer.budget) keepThese(group, layer, keep(group, layer), safe, name);
    }
  }
  return { name, summary, cache: DefinedKVCache as new (shape: CacheShape, options: PolicyOptions) => DefinedKVCache };
}

const NEEDS: readonly Need[] = ['sums', 'last-query', 'window'];

/** @throws InputError for a need that there isn't, and for a window of no length. */
function checkNeeds({ name, needs = [], promptTail = 0 }: PolicyDefinition): void {
  for (const need of needs)
    if (!NEEDS.includes(need))
      throw new InputError(`the policy ${name} needs "${need}", but there are ${NEEDS.join(', ')}`);
  if (needs.includes('window') && promptTail === 0)
    throw new InputError(`the policy ${name} needs a window, so it must say promptTail, how long it is`);
}

/** @throws InputError for indices that are no candidates, and for more than the budget. */
function keepThese(
  group: GroupView,
  { budget, now }: LayerView,
  indices: Iterable<number>,
  safe: SafeTokens,
  name: string,
): void {
  const { keep, positions, length } = group;
  const alive = keep.slice(0, length);
  for (let j = 0; j < length; j++) if (!isSafe(positions[j], now, safe)) keep[j] = 0;
  let room = budget - group.kept;
  let named = 0;
  for (const j of indices) {
    if (!Number.isInteger(j) || j < 0 || j >= length)
      throw new InputError(`the policy ${name} keeps candidate ${j}, but there are ${length}`);
    if (alive[j] === 0) continue; // hidden by the window, or named twice
    alive[j] = 0;
    named++;
    if (keep[j] === 1 || room === 0) continue;
    keep[j] = 1;
    room--;
  }
  if (named > budget) throw new InputError(`the policy ${name} keeps ${named} slots, but the budget is ${budget}`);
}
