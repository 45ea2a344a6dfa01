/**
 * @file `mix(a, b, …)`: several policies at once, by the sum of the ranks that each gives a slot.
 */
import { InputError } from '../../util/errors.ts';
import { definePolicy } from './define-policy.ts';
import type { GroupView } from './group-view.ts';
import type { PolicyEntry, PolicyRules, PolicySetup } from './policy.ts';
import { commonStateType, PartStates, PolicyPart, rulesOfAll } from './policy-part.ts';

/**
 * A policy that ranks slots by the sum of the ranks that others give them: the worst of a group's candidates has
 * rank 0. Sinks and recent tokens are the largest of theirs. {@link KVCache.scores} tells the first one's.
 * @throws InputError for policies that have no scores, or decide for several groups or layers at once.
 */
export function mixPolicies(entries: readonly PolicyEntry[]): PolicyEntry {
  const name = `mix(${entries.map((entry) => entry.name).join(', ')})`;
  if (entries.length < 2) throw new InputError(`${name}: mix takes at least two policies`);
  for (const entry of entries)
    if (!entry.rules || !('ada' in entry.options))
      throw new InputError(`${name}: the policy ${entry.name} has no scores that could be mixed`);
  return definePolicy<object>({
    name,
    summary: `${entries.map((entry) => entry.name).join(' and ')}, by the sum of ranks`,
    options: Object.assign({}, ...entries.map(({ options }) => options)),
    setup: (setup) => mixedRules(name, entries, setup as PolicySetup),
  });
}

function mixedRules(name: string, entries: readonly PolicyEntry[], setup: PolicySetup): PolicyRules {
  const { layers } = setup.shape;
  const parts: PolicyPart[] = [];
  const states = new PartStates(layers.length);
  for (const entry of entries) {
    const part = new PolicyPart(entry, setup, states.next);
    const { rules } = part;
    const { perGroup, sharing, keep, budget, startsWhole, merge } = rules;
    if (perGroup === false || sharing === 'by-window' || keep || budget || startsWhole || merge)
      throw new InputError(`${name}: the policy ${entry.name} has no scores of each group that could be mixed`);
    parts.push(part);
    states.add(part, (l) => layers[l].slots);
  }
  const all = parts.map(({ rules }) => rules);
  const tails = [...new Set(all.map((rules) => rules.promptTail ?? 0).filter((tail) => tail > 0))];
  if (tails.length > 1) throw new InputError(`${name}: the policies want windows of ${tails.join(' and ')} tokens`);
  const most = (of: (rules: PolicyRules) => number) => Math.max(...all.map(of));
  const usual = (N: number) => (rules: PolicyRules) => rules.recent?.(N) ?? Math.floor(N / 8);
  return {
    ...rulesOfAll(parts, states),
    needsQueries: all.some((rules) => rules.needsQueries),
    promptTail: tails[0] ?? 0,
    sinks: most((rules) => rules.sinks ?? 0),
    recent: (N) => most(usual(N)),
    recentOf: (layer, recent, group) => most((rules) => rules.recentOf?.(layer, recent, group) ?? recent),
    slotState: states.slotState,
    slotStateType: commonStateType(parts),
    observe: (layer) => {
      for (const part of parts) part.observe(layer);
    },
    rank: (group, layer) => {
      group.values.fill(0, 0, group.length);
      for (const part of parts) addRanks(group, part.values(layer, layer.groups.indexOf(group)));
    },
  };
}

/** Adds ranks of a group's candidates to their values: of equal ones the younger has the higher rank. */
function addRanks(group: GroupView, values: Float64Array): void {
  const { keep, positions, length } = group;
  const order: number[] = [];
  for (let j = 0; j < length; j++) {
    if (keep[j] === 1) order.push(j);
    // NaN has no rank: it makes the sum NaN, which the order of eviction refuses.
    if (Number.isNaN(values[j])) group.values[j] = Number.NaN;
  }
  order.sort((a, b) => values[a] - values[b] || positions[a] - positions[b]);
  for (let rank = 0; rank < order.length; rank++) group.values[order[rank]] += rank;
}
