/**
 * @file The order of eviction: who stays, given a value for each candidate.
 */
import { GraphError } from '../util/errors.ts';
import type { GroupView } from './view.ts';

/** Tokens that stay whatever their value. */
export interface SafeTokens {
  /** Positions below this. */
  readonly sinks: number;
  /** So many of the newest, the newest of all included. */
  readonly recent: number;
}

/** Whether a token stays whatever its value. */
export function isSafe(position: number, now: number, { sinks, recent }: SafeTokens): boolean {
  return position < sinks || position > now - recent;
}

/**
 * Clears `keep` of those that go until `budget` are left: the order is higher value, then younger position. Candidates that
 * do not stay already are left out.
 * @throws GraphError for a value that is not a number.
 */
export function keepBest(group: GroupView, budget: number, now: number, safe: SafeTokens): void {
  const { keep } = group;
  const drop = group.kept - budget;
  if (drop <= 0) return;
  if (drop <= FEW) {
    for (let i = 0; i < drop; i++) {
      const worst = findWorst(group, now, safe);
      if (worst < 0) throw outOfCandidates(budget);
      keep[worst] = 0;
    }
    return;
  }
  const order = worstFirst(group, now, safe);
  if (order.length < drop) throw outOfCandidates(budget);
  for (let i = 0; i < drop; i++) keep[order[i]] = 0;
}

/** Up to so many are found one by one, which needs no sorting. */
const FEW = 4;

/** The candidates that are not safe, those to go first at the front. @throws GraphError for a value that is not a number. */
export function worstFirst(group: GroupView, now: number, safe: SafeTokens): number[] {
  const { length, positions, values, keep } = group;
  const free: number[] = [];
  for (let j = 0; j < length; j++) {
    if (keep[j] === 0 || isSafe(positions[j], now, safe)) continue;
    if (Number.isNaN(values[j])) throw notANumber(group, j);
    free.push(j);
  }
  return free.sort((a, b) => values[a] - values[b] || positions[a] - positions[b]);
}

function findWorst(group: GroupView, now: number, { sinks, recent }: SafeTokens): number {
  const { length, positions, values, keep } = group;
  const oldestSafe = now - recent;
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
