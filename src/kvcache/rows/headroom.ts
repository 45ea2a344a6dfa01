/**
 * @file How many tokens a cache takes before it gives any up.
 */
import type { Policy } from '../policy/policy.ts';
import type { SlotStore } from '../slots/slot-store.ts';

interface Counted {
  readonly cacheLength: number;
  readonly rules: Policy;
  readonly store: SlotStore;
  length(row: number): number;
}

/**
 * Tokens that a row may take before its policy gives any up: 0 once its budget is used up, and Infinity where it never
 * gives up what a later token could see. Of a cache that keeps everything: until it is full.
 */
export function headroomOf(cache: Counted, row: number): number {
  const { evicts, startsWhole } = cache.rules;
  const left = cache.cacheLength - cache.length(row);
  if (!evicts) return left;
  let most = Number.POSITIVE_INFINITY;
  for (const table of cache.store.tables.values()) {
    const { window, budgets } = table;
    // What only a window hides is not given up.
    if (window !== null && budgets.every((budget) => budget >= window - 1)) continue;
    const filled = table.filledOf(row);
    const tokens =
      cache.rules.headroom?.(filled, budgets) ?? Math.min(...budgets.map((budget, g) => budget - filled[g]));
    most = Math.min(most, tokens);
  }
  return Math.max(0, startsWhole || cache.store.limits.followLength ? left : 0, most);
}
