/**
 * @file The order of eviction: which candidates stay, given a value for each.
 */
import { GraphError, InputError } from '../util/errors.ts';
import type { GroupView, LayerView } from './view.ts';

/** Tokens that stay whatever their value. */
export interface SafeTokens {
  /** Positions below this. */
  readonly sinks: number;
  /** So many of the newest, the newest of all included. */
  readonly recent: number;
}

/** Whether a token stays whatever its value. @param last position of the newest token. */
export function isSafe(position: number, last: number, { sinks, recent }: SafeTokens): boolean {
  return position < sinks || position > last - recent;
}

/**
 * Clears `keep` of those that go until the group is within its budget: the order is higher value, then younger position. Candidates that
 * do not stay already are left out.
 * @throws GraphError for a value that is not a number.
 */
export function keepBest(group: GroupView, last: number, safe: SafeTokens): void {
  const { keep, budget } = group;
  const drop = group.kept - budget;
  if (drop <= 0) return;
  if (drop <= FEW) {
    for (let i = 0; i < drop; i++) {
      const worst = findWorst(group, last, safe);
      if (worst < 0) throw outOfCandidates(budget);
      keep[worst] = 0;
    }
    return;
  }
  const order = worstFirst(group, last, safe);
  if (order.length < drop) throw outOfCandidates(budget);
  for (let i = 0; i < drop; i++) keep[order[i]] = 0;
}

/** Up to so many are found one by one, which needs no sorting. */
const FEW = 4;

/** The candidates that are not safe, those to go first at the front. @throws GraphError for a value that is not a number. */
export function worstFirst(group: GroupView, last: number, safe: SafeTokens): number[] {
  const { length, positions, values, keep } = group;
  const free: number[] = [];
  for (let j = 0; j < length; j++) {
    if (keep[j] === 0 || isSafe(positions[j], last, safe)) continue;
    if (Number.isNaN(values[j])) throw notANumber(group, j);
    free.push(j);
  }
  return free.sort((a, b) => values[a] - values[b] || positions[a] - positions[b]);
}

function findWorst(group: GroupView, last: number, { sinks, recent }: SafeTokens): number {
  const { length, positions, values, keep } = group;
  const oldestSafe = last - recent;
  let worst = -1;
  let least = Number.POSITIVE_INFINITY;
  let age = 0;
  for (let j = 0; j < length; j++) {
    const value = values[j];
    // First what is true of nearly all. Nothing is above or below what is no number.
    if (value > least) continue;
    const position = positions[j];
    if (keep[j] === 0 || position < sinks || position > oldestSafe) continue;
    if (Number.isNaN(value)) throw notANumber(group, j);
    if (worst >= 0 && value === least && position > age) continue;
    worst = j;
    least = value;
    age = position;
  }
  return worst;
}

function notANumber(group: GroupView, j: number): GraphError {
  return new GraphError(`the cache policy's score of position ${group.positions[j]} is not a number`);
}

function outOfCandidates(budget: number): GraphError {
  return new GraphError(`sinks and recent tokens alone exceed the budget of ${budget} slots`);
}

/**
 * Clears `keep` of all but the safe tokens and those that a policy names.
 * @throws InputError for indices that are no candidates, and for more than the budget.
 */
export function keepThese(
  group: GroupView,
  { lastPosition }: LayerView,
  indices: Iterable<number>,
  safe: SafeTokens,
  name: string,
): void {
  const { keep, positions, length, budget } = group;
  const alive = keep.slice(0, length);
  for (let j = 0; j < length; j++) if (!isSafe(positions[j], lastPosition, safe)) keep[j] = 0;
  let left = budget - group.kept;
  let named = 0;
  for (const j of indices) {
    if (!Number.isInteger(j) || j < 0 || j >= length)
      throw new InputError(`the policy ${name} keeps candidate ${j}, but there are ${length}`);
    if (alive[j] === 0) continue; // hidden by the window, or named twice
    alive[j] = 0;
    named++;
    if (keep[j] === 1 || left === 0) continue;
    keep[j] = 1;
    left--;
  }
  if (named > budget) throw new InputError(`the policy ${name} keeps ${named} slots, but the budget is ${budget}`);
}
