/**
 * @file `mix(a, b, …)`: several policies at once, by the sum of the ranks that each gives a slot.
 */
import { InputError } from '../util/errors.ts';
import { definePolicy } from './define-policy.ts';
import type { Need, PolicyRow, PolicyRules, PolicySetup } from './policy.ts';
import type { GroupView, LayerView } from './view.ts';

/** One of the mixed policies, and where its numbers are among those of all. */
interface Part {
  readonly name: string;
  readonly rules: PolicyRules;
  readonly slotState: number;
  readonly rowState: number;
  /** By layer. */
  readonly layerState: readonly number[];
  /** What it is given in place of the groups, by their index, and of the layer. */
  readonly groups: Map<number, GroupView>;
}

/**
 * A policy that ranks slots by the sum of the ranks that others give them: the worst of a group's candidates has rank 0. Sinks and
 * recent tokens are the largest of theirs. {@link KVCache.scores} tells the first one's.
 * @throws InputError for policies that have no scores, or decide for several groups or layers at once.
 */
export function mixPolicies(rows: readonly PolicyRow[]): PolicyRow {
  const name = `mix(${rows.map((row) => row.name).join(', ')})`;
  if (rows.length < 2) throw new InputError(`${name}: to mix takes two policies at least`);
  for (const row of rows)
    if (!row.rules || !('ada' in row.options))
      throw new InputError(`${name}: the policy ${row.name} has no scores that could be mixed`);
  return definePolicy<object>({
    name,
    summary: `${rows.map((row) => row.name).join(' and ')}, by the sum of ranks`,
    options: Object.assign({}, ...rows.map(({ options }) => options)),
    setup: (setup) => mixedRules(name, rows, setup as PolicySetup),
  });
}

function mixedRules(name: string, rows: readonly PolicyRow[], setup: PolicySetup): PolicyRules {
  const { layers } = setup.shape;
  const parts: Part[] = [];
  const [slots, numbers] = [{ count: 0 }, { count: 0 }];
  const states = layers.map(() => 0);
  for (const row of rows) {
    const rules = row.rules!(setup);
    if (rules.perGroup === false || rules.sharing === 'by-window' || rules.keep || rules.budget || rules.startsWhole)
      throw new InputError(`${name}: the policy ${row.name} has no scores of each group that could be mixed`);
    const part = { slotState: slots.count, rowState: numbers.count, layerState: [...states] };
    parts.push({ name: row.name, rules, ...part, groups: new Map() });
    slots.count += rules.slotState ?? 1;
    numbers.count += rules.rowState ?? 0;
    for (const l of layers.keys()) if (layers[l].slots) states[l] += rules.layerState?.(l) ?? 0;
  }
  const all = parts.map(({ rules }) => rules);
  const needs = [...new Set(all.flatMap((rules) => rules.needs ?? []))];
  const tails = [...new Set(all.map((rules) => rules.promptTail ?? 0).filter((tail) => tail > 0))];
  if (tails.length > 1) throw new InputError(`${name}: the policies want windows of ${tails.join(' and ')} tokens`);
  const most = (of: (rules: PolicyRules) => number) => Math.max(...all.map(of));
  const usual = (N: number) => (rules: PolicyRules) => rules.recent?.(N) ?? Math.floor(N / 8);
  return {
    needs,
    needsQueries: all.some((rules) => rules.needsQueries),
    reads: all.some((rules) => rules.reads ?? true),
    promptTail: tails[0] ?? 0,
    sinks: most((rules) => rules.sinks ?? 0),
    recent: (N) => most(usual(N)),
    recentOf: (layer, recent) => most((rules) => rules.recentOf?.(layer, recent) ?? recent),
    slotState: slots.count,
    rowState: numbers.count,
    layerState: (layer) => states[layer],
    scoredByLater: all.some((rules) => rules.scoredByLater ?? true),
    beginChunk: (chunk) => {
      for (const { rules, rowState: from } of parts)
        rules.beginChunk?.({ ...chunk, rowState: chunk.rowState.subarray(from, from + (rules.rowState ?? 0)) });
    },
    observe: (layer) => {
      for (const part of parts) {
        const own = layerOf(part, layer, needs);
        part.rules.observe?.(own);
        for (const group of own.groups) observe(part, group, own);
      }
    },
    rank: (group, layer) => {
      group.values.fill(0, 0, group.length);
      for (const part of parts) addRanks(part, group, layerOf(part, layer, needs));
    },
  };
}

/** What a part is given of a layer: its own numbers, and the weights that it needs. */
function layerOf(part: Part, layer: LayerView, needs: readonly Need[]): LayerView {
  const { rules, rowState, layerState } = part;
  const from = layerState[layer.layer];
  const to = from + (rules.layerState?.(layer.layer) ?? 0);
  const groups = layer.groups.map((group) => groupOf(part, group, needs));
  const own = {
    rowState: layer.rowState.subarray(rowState, rowState + (rules.rowState ?? 0)),
    layerState: layer.layerState.subarray(from, to),
    nextLayerState: layer.nextLayerState.subarray(from, to),
    groups,
  };
  return Object.assign(Object.create(layer) as LayerView, own);
}

function groupOf(part: Part, group: GroupView, needs: readonly Need[]): GroupView {
  let own = part.groups.get(group.index);
  if (!own || Object.getPrototypeOf(own) !== group) {
    own = Object.create(group, { kept: { get: () => group.kept } }) as GroupView;
    part.groups.set(group.index, own);
  }
  const { slotState: from, rules } = part;
  own.slotState = group.slotState.slice(from, from + (rules.slotState ?? 1));
  own.weights = (rules.needs ?? []).map((need) => group.weights[needs.indexOf(need)]);
  if (!Object.hasOwn(own, 'values') || own.values.length < group.length)
    own.values = new Float64Array(group.values.length);
  return own;
}

/** Brings a part's scores up to date, and keeps the values that it returns. */
function observe({ name, rules }: Part, group: GroupView, layer: LayerView): void {
  const given = rules.score?.(group, layer);
  group.ranked = given !== undefined;
  if (!given) return;
  if (given.length < group.length)
    throw new InputError(`the policy ${name} gave ${given.length} values for ${group.length} candidates`);
  for (let j = 0; j < group.length; j++) group.values[j] = given[j];
}

/** Adds a part's ranks of a group's candidates to their values: of equal ones the younger has the higher rank. */
function addRanks({ rules }: Part, group: GroupView, layer: LayerView): void {
  const { keep, positions, length } = group;
  const own = layer.groups[group.index];
  if (!own.ranked) {
    if (rules.rank) rules.rank(own, layer);
    else own.values.set(own.scores.subarray(0, length));
  }
  const { values } = own;
  const order: number[] = [];
  for (let j = 0; j < length; j++) {
    if (keep[j] === 1) order.push(j);
    // NaN has no rank: it makes the sum NaN, which the order of eviction refuses.
    if (Number.isNaN(values[j])) group.values[j] = Number.NaN;
  }
  order.sort((a, b) => values[a] - values[b] || positions[a] - positions[b]);
  for (let rank = 0; rank < order.length; rank++) group.values[order[rank]] += rank;
}
