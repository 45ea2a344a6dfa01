/**
 * @file The order of eviction: who stays, given a value for each candidate.
 */
import { GraphError } from '../errors.ts';
import type { GroupView } from './view.ts';

/** Tokens that stay whatever their value. */
export interface SafeTokens {
  /** Positions below this. */
  readonly sinks: number;
  /** So many of the newest, the newest of all included. */
  readonly recent: number;
}

/**
 * Clears `keep` of those that go until `budget` are left: the order is higher value, then younger position. Candidates that
 * do not stay already are left out.
 * @throws GraphError for a value that is not a number.
 */
export function keepBest(group: GroupView, budget: number, now: number, { sinks, recent }: SafeTokens): void {
  const { length, positions, values, keep } = group;
  let drop = group.kept - budget;
  if (drop <= 0) return;
  const oldestSafe = now - recent;
  const isFree = (j: number) => keep[j] === 1 && positions[j] >= sinks && positions[j] <= oldestSafe;
  if (drop <= FEW) {
    for (; drop > 0; drop--) {
      const worst = findWorst(group, sinks, oldestSafe);
      if (worst < 0) throw outOfCandidates(budget);
      keep[worst] = 0;
    }
    return;
  }
  const free: number[] = [];
  for (let j = 0; j < length; j++) if (isFree(j)) free.push(j);
  if (free.length < drop) throw outOfCandidates(budget);
  for (const j of free) if (Number.isNaN(values[j])) throw notANumber(group, j);
  free.sort((a, b) => values[a] - values[b] || positions[a] - positions[b]);
  for (let i = 0; i < drop; i++) keep[free[i]] = 0;
}

/** Up to so many are found one by one, which needs no sorting. */
const FEW = 4;

function findWorst(group: GroupView, sinks: number, oldestSafe: number): number {
  const { length, positions, values, keep } = group;
  let worst = -1;
  let least = Number.POSITIVE_INFINITY;
  let age = 0;
  for (let j = 0; j < length; j++) {
    const position = positions[j];
    if (keep[j] === 0 || position < sinks || position > oldestSafe) continue;
    const value = values[j];
    if (value < least || (value === least && position < age) || worst < 0) {
      if (Number.isNaN(value)) throw notANumber(group, j);
      worst = j;
      least = value;
      age = position;
    } else if (Number.isNaN(value)) throw notANumber(group, j);
  }
  return worst;
}

function notANumber(group: GroupView, j: number): GraphError {
  return new GraphError(`the cache policy's score of position ${group.positions[j]} is not a number`);
}

function outOfCandidates(budget: number): GraphError {
  return new GraphError(`sinks and recent tokens alone exceed the budget of ${budget} slots`);
}
