/**
 * @file `ada(…)`: the groups of a layer share its budget.
 */
import { InputError } from '../../util/errors.ts';
import type { GroupView } from './group-view.ts';
import { isSafe, type SafeTokens, worstFirst } from './select.ts';
import type { LayerView } from './view.ts';

/** The part of the budget that each group's best have for themselves. */
const ADA_FLOOR = 0.2;

/** @throws InputError for a floor that is no part. */
export function readFloor(floor: number | undefined): number {
  const part = floor ?? ADA_FLOOR;
  if (!(part >= 0 && part <= 1)) throw new InputError(`floor must be from 0 to 1, but is ${part}`);
  return part;
}

/** Slots that each group's best have for themselves. */
export function floorSlots(floor: number, budget: number): number {
  return Math.max(1, Math.floor(floor * budget));
}

/**
 * Ada-KV (arXiv 2407.11550): G groups share G·budget slots. Each group's best `floor`·budget are safe, besides sinks
 * and recent tokens; the rest is one ranking over all groups, so their lengths differ. `values` must be filled.
 */
export function keepBestTogether(view: LayerView, safeOf: (group: GroupView) => SafeTokens, floor: number): void {
  const { groups, lastPosition } = view;
  let drop = groups.reduce((sum, group) => sum + group.kept - group.budget, 0);
  const free: { group: number; j: number; value: number; position: number }[] = [];
  groups.forEach((group, g) => {
    const safe = safeOf(group);
    const order = worstFirst(group, lastPosition, safe);
    let safeCount = 0;
    for (let j = 0; j < group.length; j++)
      if (group.keep[j] === 1 && isSafe(group.positions[j], lastPosition, safe)) safeCount++;
    const spare = order.length - Math.max(0, floorSlots(floor, group.budget) - safeCount);
    for (let i = 0; i < spare; i++)
      free.push({ group: g, j: order[i], value: group.values[order[i]], position: group.positions[order[i]] });
  });
  free.sort((a, b) => a.value - b.value || a.position - b.position || b.group - a.group);
  for (const { group, j } of free) {
    if (drop-- <= 0) return;
    groups[group].evict(j);
  }
}
