/**
 * @file `routed(a, b)`: query groups that read the past get policy a and the slots for it, the others policy b and what
 * they lose most without. Which groups these are says a calibration of the model.
 */
import { InputError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { CacheOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';
import type { PolicyEntry, PolicyRules, PolicySetup } from '../policy/policy.ts';
import { PartStates, PolicyPart, rulesOfAll } from '../policy/policy-part.ts';
import { checkRoutes, type RouteOptions, type Routes, routesOf } from './routes.ts';

/** Options of `routed`. */
export interface RoutedOptions extends CacheOptions, RouteOptions {
  /** What `model.calibrate()` gave. @default for caches of a model: its own, which is measured where there is none */
  readonly table?: unknown;
  /** In place of a table: slots of each group, and which of them get the retrieval policy. */
  readonly routes?: Routes;
  /** Tokens at the start of the sequence that always stay. @default 4 */
  readonly sinks?: number;
}

const OPTIONS = {
  table: 'a calibration table (default: that of the model)',
  routes: 'in place of a table: slots of each group',
  length: 'tokens of the sequences that the cache is for (default: four times the cacheLength)',
  beta: 'part of all slots that goes to recent tokens by what groups lose without them',
  floor: 'slots that every group has at least',
  threshold: 'groups whose part of the past is above so many times the mean get the retrieval policy',
} as const;

const SINKS = 4;
/** Parts of a group's slots that recent tokens have for sure. */
const RECENT = { retrieval: 0.1, local: 0.5 };

/** Whether a policy distributes slots by a calibration. */
export const isRouted = (entry: PolicyEntry): boolean => 'routes' in entry.options;

/**
 * @param name of the policy.
 * @throws InputError for policies that can't decide about single groups.
 */
export function routedPolicy(retrieval: PolicyEntry, local: PolicyEntry, name?: string): PolicyEntry {
  const full = `routed(${retrieval.name}, ${local.name})`;
  for (const entry of [retrieval, local])
    if (!entry.rules || isRouted(entry))
      throw new InputError(`${full}: ${entry.name} can't decide about single groups`);
  const { sinks: _s, recent: _r, ada: _a, ...taken } = { ...retrieval.options, ...local.options };
  const entry = definePolicy<RoutedOptions>({
    name: name ?? full,
    summary: 'slots for the query groups that read the past',
    options: { ...OPTIONS, ...taken },
    frame: ['sinks'],
    setup: (setup) => routedRules(full, retrieval, local, setup as unknown as PolicySetup<RoutedOptions>),
  });
  return {
    ...entry,
    settle: ({ options, shape, cacheLength }) => {
      const { table, length, beta, floor, threshold, ...rest } = options as Partial<RoutedOptions>;
      if (rest.routes !== undefined) {
        if (table !== undefined) throw new InputError(`${entry.name} takes a table or routes, not both`);
        return rest;
      }
      if (table === undefined)
        throw new InputError(
          `${entry.name} needs a calibration of the model: await model.calibrate() first, or give its result as the option "table"`,
        );
      return { ...rest, routes: routesOf(table, shape, cacheLength, { length, beta, floor, threshold }) };
    },
  };
}

/** A part, and the groups that it decides about. */
interface Route {
  readonly part: PolicyPart;
  readonly members: (layer: number) => readonly number[];
  /** The part of a group's slots that recent tokens have for sure. */
  readonly recent: number;
}

function routedRules(
  name: string,
  retrieval: PolicyEntry,
  local: PolicyEntry,
  { shape, options, cacheLength, buffer }: PolicySetup<RoutedOptions>,
): PolicyRules {
  if (!options.routes) throw new InputError(`${name} needs routes: make the cache with createCache`);
  const routes = checkRoutes(options.routes, shape, cacheLength);
  const slotsOf = (layer: number, group: number) => routes.slots[layer]?.[group] ?? cacheLength;
  const membersOf = (wanted: number) => {
    const all = shape.layers.map(({ slots, groups }, l) =>
      range(slots ? groups : 0).filter((g) => (routes.retrieval[l]?.[g] ?? 0) === wanted),
    );
    return (layer: number) => all[layer];
  };
  const states = new PartStates(shape.layers.length);
  const routeOf = (entry: PolicyEntry, wanted: number, recent: number): Route => {
    const members = membersOf(wanted);
    // What a policy derives from the budget must hold in the smallest of its groups.
    const budgets = shape.layers.flatMap((_, l) => members(l).map((g) => slotsOf(l, g)));
    const smallest = Math.min(cacheLength, ...budgets);
    const setup = { shape, options: partOptions(entry, options, smallest, recent), cacheLength: smallest, buffer };
    // A slot is of one group, so the parts' numbers of slots share their memory.
    const part = new PolicyPart(entry, setup, { ...states.next, slotState: 0 }, members);
    checkPart(name, part);
    states.add(part, (l) => members(l).length > 0);
    return { part, members, recent };
  };
  const routed = [routeOf(local, 0, RECENT.local), routeOf(retrieval, 1, RECENT.retrieval)];
  const present = (layer: number) => routed.filter(({ members }) => members(layer).length > 0);
  const routeOfGroup = (layer: number, group: number) => routed[routes.retrieval[layer]?.[group] ?? 0];
  return {
    ...rulesOfAll(
      routed.map(({ part }) => part),
      states,
    ),
    needsOf: (layer, group) => routeOfGroup(layer, group).part.rules.needs ?? [],
    promptTail: Math.max(...routed.map(({ part }) => part.rules.promptTail ?? 0)),
    sinks: SINKS,
    recentOf: ({ layer }, _, { index, budget }) => Math.max(1, Math.floor(routeOfGroup(layer, index).recent * budget)),
    budget: slotsOf,
    feedbackOf: (layer, group) => routes.feedback[layer]?.[group],
    followsLength: true,
    // In float64 the sums of h2o take as much as a seventh of an int4 slot, and rank the slots no better.
    slotStateType: 'float32',
    slotState: Math.max(...routed.map(({ part }) => part.rules.slotState ?? 1)),
    slotStateOf: (layer) => Math.max(0, ...present(layer).map(({ part }) => part.rules.slotState ?? 1)),
    observe: (layer) => {
      for (const { part } of present(layer.layer)) part.observe(layer);
    },
    rank: (group, layer) => {
      const { part, members } = routeOfGroup(layer.layer, group.index);
      part.values(layer, members(layer.layer).indexOf(group.index));
    },
    ...(routed.some(({ part }) => part.rules.merge) && {
      merge: (group, layer) => {
        const { part, members } = routeOfGroup(layer.layer, group.index);
        part.merge(layer, members(layer.layer).indexOf(group.index));
      },
      mergesOf: (layer, group) => routeOfGroup(layer, group).part.rules.merge !== undefined,
    }),
  };
}

/** The options of a part, for budgets as small as its smallest group's. */
function partOptions(
  entry: PolicyEntry,
  options: RoutedOptions,
  smallest: number,
  recent: number,
): Record<string, unknown> {
  const own = Object.fromEntries(
    Object.entries(options).filter(([name]) => name in entry.options && !(name in OPTIONS) && name !== 'sinks'),
  );
  const newest = Math.max(1, Math.floor(recent * smallest));
  if ('recent' in entry.options) own['recent'] = newest;
  if ('sinks' in entry.options) own['sinks'] = Math.min(SINKS, smallest - newest);
  return own;
}

/**
 * @throws InputError for a policy that decides about groups or layers together, or by what is not told group by group.
 */
function checkPart(name: string, { name: part, rules }: PolicyPart): void {
  const { needs = [], perGroup = true, evicts = true, keep, budget, followsLength, startsWhole } = rules;
  const { needsQueries, score, observe } = rules;
  const isTogether = !perGroup && (needs.length > 0 || score !== undefined || observe !== undefined);
  if (!evicts || isTogether || keep || budget || followsLength || startsWhole || needsQueries)
    throw new InputError(`${name}: the policy ${part} can't decide about single groups`);
}
