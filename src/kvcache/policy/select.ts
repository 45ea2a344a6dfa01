/**
 * @file The order of eviction: which candidates stay, given a value for each.
 */
import { GraphError, PolicyError } from '../../util/errors.ts';
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
 * @param atOnce so many go, if there are as many, where one must go.
 * @throws GraphError for a value that is not a number.
 */
export function keepBest(group: GroupView, last: number, safe: SafeTokens, atOnce = 1): void {
  const { keep, budget } = group;
  const over = group.kept - budget;
  if (over <= 0) return;
  if (Math.max(over, atOnce) <= FEW) {
    for (let i = 0; i < Math.max(over, atOnce); i++) {
      const worst = findWorst(group, last, safe);
      if (worst >= 0) keep[worst] = 0;
      else if (i < over) throw outOfCandidates(budget);
    }
    return;
  }
  const free = freeCandidates(group, last, safe);
  if (free.length < over) throw outOfCandidates(budget);
  const drop = Math.min(free.length, Math.max(over, atOnce));
  moveWorst(group, free, drop);
  for (let i = 0; i < drop; i++) keep[free[i]] = 0;
}

/** Up to so many are found one by one. */
const FEW = 4;

/** The candidates that are not safe, those to go first at the front. @throws GraphError for a value that is not a number. */
export function worstFirst(group: GroupView, last: number, safe: SafeTokens): number[] {
  const { positions, values } = group;
  const free = [...freeCandidates(group, last, safe)];
  return free.sort((a, b) => values[a] - values[b] || positions[a] - positions[b]);
}

/** Memory of {@link freeCandidates}. */
let indices = new Int32Array(0);

/** The candidates that are not safe, until the next call. @throws GraphError for a value that is not a number. */
function freeCandidates(group: GroupView, last: number, { sinks, recent }: SafeTokens): Int32Array {
  const { length, positions, values, keep } = group;
  if (indices.length < length) indices = new Int32Array(2 * length);
  const oldestSafe = last - recent;
  let count = 0;
  for (let j = 0; j < length; j++) {
    const position = positions[j];
    if (keep[j] === 0 || position < sinks || position > oldestSafe) continue;
    if (Number.isNaN(values[j])) throw notANumber(group, j);
    indices[count++] = j;
  }
  return indices.subarray(0, count);
}

/**
 * Moves the `count` candidates that go first to the front, in any order: a chunk of 64 tokens makes 64 of 1,088 go in each group, and sorting
 * took 0.3 ms for each of the 90 groups of a 135M model.
 */
function moveWorst({ values, positions }: GroupView, order: Int32Array, count: number): void {
  let from = 0;
  let to = order.length - 1;
  while (from < to) {
    // The middle one of three, so that what is sorted already is halved, too.
    const [a, b, c] = [order[from], order[(from + to) >> 1], order[to]];
    const goesFirst = (i: number, j: number) =>
      values[i] < values[j] || (values[i] === values[j] && positions[i] < positions[j]);
    const [low, high] = goesFirst(a, b) ? [a, b] : [b, a];
    const pivot = goesFirst(c, low) ? low : goesFirst(high, c) ? high : c;
    const [value, position] = [values[pivot], positions[pivot]];
    let i = from;
    let j = to;
    while (i <= j) {
      while (values[order[i]] < value || (values[order[i]] === value && positions[order[i]] < position)) i++;
      while (values[order[j]] > value || (values[order[j]] === value && positions[order[j]] > position)) j--;
      if (i > j) break;
      const swapped = order[i];
      order[i++] = order[j];
      order[j--] = swapped;
    }
    // Up to j those that go before the pivot or are it, from i on those that go after it or are it.
    if (count - 1 <= j) to = j;
    else if (count - 1 >= i) from = i;
    else return;
  }
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
 * @throws PolicyError for indices that are no candidates, and for more than the budget.
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
      throw new PolicyError(`the policy ${name} keeps candidate ${j}, but there are ${length}`);
    if (alive[j] === 0) continue; // hidden by the window, or named twice
    alive[j] = 0;
    named++;
    if (keep[j] === 1 || left === 0) continue;
    keep[j] = 1;
    left--;
  }
  if (named > budget) throw new PolicyError(`the policy ${name} keeps ${named} slots, but the budget is ${budget}`);
}
