/**
 * @file The order of eviction: which candidates stay, given a value for each.
 */
import { GraphError, PolicyError } from '../../util/errors.ts';
import type { GroupView } from './group-view.ts';
import type { LayerView } from './view.ts';

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

/** By what candidates are ranked. */
export interface Ranking {
  /**
   * A value is one of these numbers, divided by how many of the last `counted` queries could see the slot.
   * @default the group's values
   */
  readonly sums?: Float64Array;
  /** @default 1 */
  readonly counted?: number;
}

/**
 * Evicts until the group is within its budget: the order is higher value, then younger position. Candidates that are
 * evicted already are left out.
 * @throws GraphError for a value that is not a number.
 */
export function keepBest(group: GroupView, last: number, safe: SafeTokens, ranking: Ranking = {}): void {
  const { sums = group.values, counted = 1 } = ranking;
  const { budget } = group;
  const over = group.kept - budget;
  if (over <= 0) return;
  if (over <= FEW) {
    for (let i = 0; i < over; i++) {
      const worst = findWorst(group, last, safe, sums, counted);
      if (worst < 0) throw outOfCandidates(budget);
      group.evict(worst);
    }
    return;
  }
  if (sums !== group.values) fillMeans(group, last, sums, counted);
  const free = freeCandidates(group, last, safe);
  if (free.length < over) throw outOfCandidates(budget);
  moveWorst(group, free, over);
  for (let i = 0; i < over; i++) group.evict(free[i]);
}

/** Fills `values`: each sum, divided by how many of the last `counted` queries could see the slot. */
export function fillMeans({ values, positions, length }: GroupView, last: number, sums: Float64Array, counted: number) {
  if (counted === 1) values.set(sums.subarray(0, length));
  else for (let j = 0; j < length; j++) values[j] = sums[j] / Math.min(last - positions[j] + 1, counted);
}

/** Up to so many are found one by one. */
const FEW = 4;

/**
 * The candidates that are not safe, those to go first at the front.
 * @throws GraphError for a value that is not a number.
 */
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
 * Moves the `count` candidates that go first to the front, in any order: a chunk of 64 tokens makes 64 of 1,088 go in
 * each group, and sorting took 0.3 ms for each of the 90 groups of a 135M model.
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

/** The candidate that goes first; -1: all are safe. Others get no value: 1,024 divisions took as long as this loop. */
function findWorst(
  group: GroupView,
  last: number,
  { sinks, recent }: SafeTokens,
  sums: Float64Array,
  counted: number,
): number {
  const { length, positions, keep } = group;
  const oldestSafe = last - recent;
  const end = last + 1;
  let worst = -1;
  let least = Number.POSITIVE_INFINITY;
  // What is above it has a higher value, whatever is rounded.
  let limit = least;
  let age = 0;
  for (let j = 0; j < length; j++) {
    // First what is true of nearly all, in a loop for each way to divide: a minimum that never is `counted` took a
    // third of the time.
    if (counted === 1) j = skipSums(sums, limit, j, length);
    else if (counted >= end) j = skipMeans(sums, positions, end, limit, j, length);
    else j = skipCapped(sums, positions, end, counted, limit, j, length);
    if (j === length) break;
    const position = positions[j];
    if (keep[j] === 0 || position < sinks || position > oldestSafe) continue;
    const value = sums[j] / Math.min(end - position, counted);
    if (Number.isNaN(value)) throw notANumber(group, j);
    if (value > least || (worst >= 0 && value === least && position > age)) continue;
    worst = j;
    least = value;
    limit = least + Math.abs(least) * 1e-15;
    age = position;
  }
  return worst;
}

/** The first of four, from `j` on, of which one is not above the limit: nothing is above or below what is no number. */
function skipSums(sums: Float64Array, limit: number, from: number, length: number): number {
  let j = from;
  while (j + 4 <= length && sums[j] > limit && sums[j + 1] > limit && sums[j + 2] > limit && sums[j + 3] > limit)
    j += 4;
  return j;
}

/** The same of sums divided by the age. */
function skipMeans(
  sums: Float64Array,
  positions: Float32Array,
  end: number,
  limit: number,
  from: number,
  length: number,
): number {
  let j = from;
  while (
    j + 4 <= length &&
    sums[j] > limit * (end - positions[j]) &&
    sums[j + 1] > limit * (end - positions[j + 1]) &&
    sums[j + 2] > limit * (end - positions[j + 2]) &&
    sums[j + 3] > limit * (end - positions[j + 3])
  )
    j += 4;
  return j;
}

/** The same of sums divided by the age, but by `counted` at most. */
function skipCapped(
  sums: Float64Array,
  positions: Float32Array,
  end: number,
  counted: number,
  limit: number,
  from: number,
  length: number,
): number {
  let j = from;
  while (
    j + 4 <= length &&
    sums[j] > limit * Math.min(end - positions[j], counted) &&
    sums[j + 1] > limit * Math.min(end - positions[j + 1], counted) &&
    sums[j + 2] > limit * Math.min(end - positions[j + 2], counted) &&
    sums[j + 3] > limit * Math.min(end - positions[j + 3], counted)
  )
    j += 4;
  return j;
}

function notANumber(group: GroupView, j: number): GraphError {
  return new GraphError(`the cache policy's score of position ${group.positions[j]} is not a number`);
}

function outOfCandidates(budget: number): GraphError {
  return new GraphError(`sinks and recent tokens alone exceed the budget of ${budget} slots`);
}

/**
 * Evicts all but the safe tokens and those that a policy names.
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
  const stays = new Uint8Array(length);
  let left = budget;
  for (let j = 0; j < length; j++)
    if (alive[j] === 1 && isSafe(positions[j], lastPosition, safe)) {
      stays[j] = 1;
      left--;
    }
  let named = 0;
  for (const j of indices) {
    if (!Number.isInteger(j) || j < 0 || j >= length)
      throw new PolicyError(`the policy ${name} keeps candidate ${j}, but there are ${length}`);
    if (alive[j] === 0) continue; // hidden by the window, or named twice
    alive[j] = 0;
    named++;
    if (stays[j] === 1 || left === 0) continue;
    stays[j] = 1;
    left--;
  }
  if (named > budget) throw new PolicyError(`the policy ${name} keeps ${named} slots, but the budget is ${budget}`);
  for (let j = 0; j < length; j++) if (stays[j] === 0) group.evict(j);
}
