/**
 * @file What all policies share: sinks and recent tokens that are safe, scores that move with their slots, the order in
 * which slots go, groups that share a budget.
 */
import { GraphError, InputError, PolicyError } from '../../util/errors.ts';
import { locationOf } from '../../util/location.ts';
import { floorSlots, keepBestTogether, readFloor } from './ada.ts';
import type { GroupView } from './group-view.ts';
import { isOfChunks } from './needs.ts';
import type { Policy, PolicyLayout, PolicyRules, PolicySetup } from './policy.ts';
import { readRecent, readSinks } from './safe-options.ts';
import { fillMeans, keepBest, keepThese, type SafeTokens } from './select.ts';
import type { LayerView } from './view.ts';

/** The options that the frame takes. */
export interface FrameOptions {
  /** Tokens at the start of the sequence that always stay. */
  readonly sinks?: number;
  /**
   * How many of the newest tokens always stay, the newest of all included: at least 1, or new tokens would go at once.
   */
  readonly recent?: number;
  /**
   * `ada`: the query groups of a layer share its budget, but for a part of it (`floor`, 0.2 by default) that each group
   * has for its own best.
   */
  readonly ada?: { readonly floor?: number } | boolean;
}

export const FRAME_OPTIONS: Readonly<Record<keyof FrameOptions, string>> = {
  sinks: 'tokens at the start of the sequence that always stay',
  recent: 'how many of the newest tokens always stay',
  ada: 'whether the query groups of a layer share its budget; { floor: part that each has for itself }',
};

/** A policy made of rules, and how it ranks. */
export interface FramedPolicy extends Policy {
  /** Fills `group.values`. */
  rank(group: GroupView, layer: LayerView): void;
  /** Sinks and recent tokens of a group. */
  safeTokens(group: GroupView, layer: LayerView): SafeTokens;
}

/**
 * Puts the rules of a policy into the frame.
 * @throws InputError for options out of range: sinks and recent tokens that exceed the budget, groups that can't share.
 */
export function framePolicy(name: string, rules: PolicyRules, setup: PolicySetup<FrameOptions>): FramedPolicy {
  const { options, cacheLength: N } = setup;
  const { evicts = true, promptTail = 0, needs = [], score, keep } = rules;
  const sinks = evicts ? readSinks(options, N, rules.sinks ?? 0) : 0;
  const recent = evicts ? readRecent(options, N, sinks, rules.recent?.(N) ?? Math.floor(N / 8)) : 0;
  const floor = readAda(name, options.ada, rules);
  const ranks = Boolean(score ?? rules.rank ?? keep);
  const reads = rules.reads ?? (ranks || rules.observe !== undefined);
  const scoredByLater = rules.scoredByLater ?? (needs.length > 0 || Boolean(rules.needsQueries) || score !== undefined);
  const { rank, observe, namesKept, merge } = calls(name, rules);

  const safeTokens = (group: GroupView, layer: LayerView): SafeTokens => {
    const { budget } = group;
    // Layers may have a smaller budget than the options were made for: those with a short window, thin ones of a
    // pyramid.
    const safeSinks = Math.min(sinks, budget - 1);
    const newest = rules.recentOf?.(layer, recent, group) ?? recent;
    return { sinks: safeSinks, recent: Math.min(newest, budget - safeSinks) };
  };
  const selectSlots = (layer: LayerView): void => {
    const { groups, lastPosition } = layer;
    const safeOf = (group: GroupView) => safeTokens(group, layer);
    if (floor !== null) {
      for (const group of groups) rank(group, layer);
      keepBestTogether(layer, safeOf, floor);
      for (const group of groups) merge(group, layer);
      return;
    }
    for (const group of groups) {
      if (group.kept <= group.budget) continue;
      if (keep) {
        keepThese(group, layer, namesKept(group, layer), safeOf(group), name);
        continue;
      }
      const isBySums = !group.ranked && !rules.rank;
      if (!isBySums) rank(group, layer);
      const by = isBySums ? { sums: group.scores, counted: countedBy(rules, layer) } : {};
      keepBest(group, lastPosition, safeOf(group), by);
      merge(group, layer);
    }
  };

  return {
    layout: layoutOf(rules),
    needs,
    needsOf: (layer, group) => rules.needsOf?.(layer, group) ?? needs,
    needsQueries: rules.needsQueries ?? false,
    needsAlongMean: rules.needsAlongMean ?? false,
    reads,
    readsSingles: rules.readsSingles ?? reads,
    evicts,
    promptTail,
    sinks,
    scoredByLater,
    scoresDecode: rules.scoresDecode ?? scoredByLater,
    refreshes: rules.refreshes ?? false,
    startsWhole: rules.startsWhole ?? false,
    rank,
    safeTokens,
    beginChunk: rules.beginChunk,
    keepsLayerState: rules.keepsLayerState,
    mostKeptChunks: rules.mostKeptChunks ?? 0,
    rests: (layer) => rests(rules, layer),
    observe,
    select(layer) {
      try {
        selectSlots(layer);
      } catch (error) {
        throw inPolicy(name, layer, error);
      }
    },
    queryRange(need, newTokens) {
      if (need === 'window') return [Math.max(0, newTokens - promptTail), newTokens];
      if (newTokens < 2 && isOfChunks(need)) return [0, 0];
      return [need === 'last-query' ? newTokens - 1 : 0, newTokens];
    },
    ...(floor === null ? {} : shared(floor)),
  };
}

function layoutOf(rules: PolicyRules): PolicyLayout {
  const { sharing = 'none', perGroup = true, slotState = 1, slotStateOf, slotStateType } = rules;
  const { rowState, layerState, budget, followsLength, needsOf, feedbackOf } = rules;
  const merges = rules.merge && (rules.mergesOf ?? (() => true));
  return {
    sharing,
    perGroup,
    slotState,
    slotStateOf,
    slotStateType,
    rowState,
    layerState,
    budget,
    merges,
    needsOf,
    feedbackOf,
    followsLength,
  };
}

/**
 * Calls of a policy's functions, once for each group and token. An error of one names the policy, and what it gives is
 * checked.
 */
function calls(name: string, rules: PolicyRules) {
  const score = (group: GroupView, layer: LayerView): void => {
    let given: ArrayLike<number> | undefined;
    try {
      given = rules.score!(group, layer);
    } catch (cause) {
      throw failed(name, 'score', layer, cause);
    }
    if (given === undefined) return;
    checkValues(name, given, group.length);
    // Copied at once: the next group may be given the same array.
    if (given !== group.values) for (let j = 0; j < group.length; j++) group.values[j] = given[j];
    group.ranked = true;
  };
  return {
    rank(group: GroupView, layer: LayerView): void {
      if (group.ranked) return;
      try {
        rankBy(rules, group, layer);
      } catch (cause) {
        throw failed(name, 'rank', layer, cause);
      }
    },
    observe(layer: LayerView): void {
      if (rests(rules, layer)) return;
      try {
        rules.observe?.(layer);
      } catch (cause) {
        throw failed(name, 'observe', layer, cause);
      }
      if (rules.score) for (const group of layer.groups) score(group, layer);
    },
    namesKept(group: GroupView, layer: LayerView): number[] {
      try {
        return [...rules.keep!(group, layer)];
      } catch (cause) {
        throw failed(name, 'keep', layer, cause);
      }
    },
    merge(group: GroupView, layer: LayerView): void {
      if (!rules.merge || group.gone.length === 0) return;
      try {
        rules.merge(group, layer);
      } catch (cause) {
        throw failed(name, 'merge', layer, cause);
      }
    },
  };
}

/**
 * Whether a token leaves a policy's numbers as they are: it reads no keys, and all that it needs of the attention is 0
 * for single tokens.
 */
export function rests(rules: PolicyRules, { newTokens, layer }: LayerView): boolean {
  const { needs = [], scoresDecode = rules.scoredByLater, reads, readsSingles = reads, layerState } = rules;
  const isOfAttention = readsSingles === false && needs.length > 0;
  return newTokens === 1 && scoresDecode === false && isOfAttention && needs.every(isOfChunks) && !layerState?.(layer);
}

/** Fills the values of a group by which a policy ranks it. */
export function rankBy(rules: PolicyRules, group: GroupView, layer: LayerView): void {
  if (rules.rank) rules.rank(group, layer);
  else fillMeans(group, layer.lastPosition, group.scores, countedBy(rules, layer));
}

const countedBy = ({ countedQueries }: PolicyRules, layer: LayerView): number => countedQueries?.(layer) ?? 1;

/** How groups that share are counted. */
function shared(floor: number): Pick<Policy, 'overflows' | 'headroom' | 'maxSlots'> {
  const sum = (numbers: Iterable<number>) => [...numbers].reduce((a, b) => a + b, 0);
  return {
    overflows: ({ groups }) => sum(groups.map(({ kept }) => kept)) > sum(groups.map(({ budget }) => budget)),
    headroom: (filled, budgets) => Math.floor((sum(budgets) - sum(filled)) / budgets.length),
    maxSlots: (budgets) => {
      const own = budgets.map((budget) => floorSlots(floor, budget));
      return Math.max(...own.map((slots) => sum(budgets) - sum(own) + slots));
    },
  };
}

/** @throws InputError where there is nothing that groups could share. */
function readAda(name: string, ada: FrameOptions['ada'], { perGroup = true, keep }: PolicyRules): number | null {
  if (!ada) return null;
  if (!perGroup)
    throw new InputError(
      `the policy ${name} decides for all groups of a layer at once, so they have no budget to share`,
    );
  if (keep)
    throw new InputError(`the policy ${name} says what to keep, and has no scores that groups could share a budget by`);
  return readFloor(ada === true ? undefined : ada.floor);
}

/** @throws PolicyError where a policy's score is no value for each candidate. */
export function checkValues(name: string, given: ArrayLike<number>, candidates: number): void {
  if (given instanceof Promise) {
    given.catch(() => {}); // an error of it would end the process
    throw new PolicyError(`the policy ${name} returned a promise of scores, but must return the values at once`);
  }
  if (typeof given?.length !== 'number' || given.length < candidates)
    throw new PolicyError(
      `the policy ${name} gave ${given?.length ?? 'no'} values for ${candidates} candidates: score returns one for each, or undefined`,
    );
}

/** What went wrong while slots were selected by a policy's scores. */
function inPolicy(name: string, { layer, row }: LayerView, error: unknown): unknown {
  if (!(error instanceof GraphError)) return error;
  return new PolicyError(`${error.message} (policy ${name}, layer ${layer}, row ${row})`, { cause: error });
}

/** The error of a policy's function: it names the policy, and has the error as its cause. */
function failed(name: string, hook: string, { layer, row }: LayerView, cause: unknown): PolicyError {
  const what = cause instanceof Error ? cause.message : String(cause);
  const message = `the cache policy ${name} failed in ${hook} (layer ${layer}, row ${row}): ${what}${locationOf(cause)}`;
  return new PolicyError(message, { cause });
}
