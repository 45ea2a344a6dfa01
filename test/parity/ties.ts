/**
 * @file Values that float32 can't tell apart: keys of equal tokens have equal norms in a model's first layer, and sums
 * of attention weights may come as near to each other as rounding. Which of them the reference kept was decided by the
 * last bits of float64, which nobody else computes. So a policy's case passes where some choice among equals gives what
 * the reference gave.
 */
import { POLICIES } from '../../src/kvcache/policies.ts';
import type { FramedPolicy } from '../../src/kvcache/policy/frame.ts';
import type { GroupView } from '../../src/kvcache/policy/group-view.ts';
import type { PolicyEntry } from '../../src/kvcache/policy/policy.ts';
import { isSafe } from '../../src/kvcache/policy/select.ts';
import type { LayerView } from '../../src/kvcache/policy/view.ts';
import { range } from '../../src/util/numbers.ts';

/** Values that differ by less, in parts of their size, are equal. */
const EQUAL = 1e-5;

/** A cut that goes through equal values. */
export interface Tie {
  readonly layer: number;
  readonly group: number;
  /** The positions of the equal ones, ascending, and how many of them stay. */
  readonly positions: readonly number[];
  readonly stay: number;
}

/** Says which positions of a tie stay. */
export type Chooser = (tie: Tie) => readonly number[];

/** Those that are preferred, then the younger ones: what the cache itself does, but for the preference. */
export const youngest = (tie: Tie, preferred: ReadonlySet<number> = new Set()): number[] =>
  [...tie.positions].sort((a, b) => Number(preferred.has(b)) - Number(preferred.has(a)) || b - a).slice(0, tie.stay);

/** Who is asked where values are equal, and the ties of the last chunk. */
export interface TieBreaker {
  choose: Chooser;
  ties: Tie[];
}

/** A policy of the table that asks where values are equal. null: it has no values. */
export function tieAware(policy: string, breaker: TieBreaker): PolicyEntry | null {
  const row = POLICIES[policy];
  if (!row || !('ada' in row.options)) return null;
  return {
    ...row,
    create: (setup) => {
      const rules = row.create(setup) as FramedPolicy;
      const select = (view: LayerView): void => {
        for (const group of view.groups) if (group.kept > group.budget) cut(rules, group, view, breaker);
      };
      return { ...rules, select };
    },
  };
}

function cut(rules: FramedPolicy, group: GroupView, view: LayerView, breaker: TieBreaker): void {
  const { positions, values, keep, length } = group;
  rules.rank(group, view);
  const safe = rules.safeTokens(group, view);
  const free = range(length).filter((j) => keep[j] === 1 && !isSafe(positions[j], view.lastPosition, safe));
  free.sort((a, b) => values[b] - values[a] || positions[b] - positions[a]);
  const room = free.length - (group.kept - group.budget);
  let stay = free.slice(0, room);
  const [last, first] = [values[free[room - 1]], values[free[room]]];
  if (room > 0 && last - first <= EQUAL * Math.abs(first)) {
    const equal = free.filter((j) => Math.abs(values[j] - first) <= EQUAL * Math.abs(first));
    const sure = stay.filter((j) => !equal.includes(j));
    const tie: Tie = {
      layer: view.layer,
      group: group.index,
      positions: equal.map((j) => positions[j]).sort((a, b) => a - b),
      stay: room - sure.length,
    };
    breaker.ties.push(tie);
    const chosen = breaker.choose(tie);
    stay = [...sure, ...equal.filter((j) => chosen.includes(positions[j]))];
  }
  for (const j of free) if (!stay.includes(j)) group.evict(j);
}

/** Ways to choose among ties, at most so many: for each tie, which positions stay. */
export function resolutions(ties: readonly Tie[], most: number): (readonly (readonly number[])[])[] {
  let all: (readonly (readonly number[])[])[] = [[]];
  for (const { positions, stay } of ties) {
    const next: (readonly (readonly number[])[])[] = [];
    for (const chosen of subsets(positions, stay)) {
      for (const before of all) next.push([...before, chosen]);
      if (next.length >= most) break;
    }
    all = next.slice(0, most);
  }
  return all;
}

/** The subsets of so many, those of later elements first. */
function* subsets(positions: readonly number[], count: number): Generator<number[]> {
  if (count === 0) yield [];
  if (count === 0 || count > positions.length) return;
  const [first, ...rest] = positions;
  yield* subsets(rest, count);
  for (const others of subsets(rest, count - 1)) yield [first, ...others];
}
