/**
 * @file Policies made of others: `ada(a)`, `mix(a, b)`, `routed(a, b)`, with the options that these were given.
 */
import { InputError } from '../../util/errors.ts';
import { routedPolicy } from '../routing/routed.ts';
import { mixPolicies } from './mix.ts';
import type { PolicyChoice, PolicyEntry } from './policy.ts';
import { type Combination, readCombination } from './policy-names.ts';

/**
 * A policy by its name, or one made of several.
 * @param find a policy by a name that is no combination.
 * @throws InputError for policies that can't be combined so, and what `find` throws.
 */
export function policyNamed(name: string, find: (name: string) => PolicyChoice): PolicyChoice {
  const read = readCombination(name);
  if (!read) return find(name);
  return combine(
    read.kind,
    read.parts.map((part) => policyNamed(part, find)),
  );
}

/** @throws InputError for policies that can't be combined so. */
export function combine(kind: Combination, parts: readonly PolicyChoice[]): PolicyChoice {
  const full = `${kind}(${parts.map(({ entry }) => entry.name).join(', ')})`;
  if (parts.some(({ options }) => options['ada'] !== undefined))
    throw new InputError(`${full}: ada(…) goes around the whole, as in ada(mix(h2o, leverage))`);
  const options = commonOptions(full, parts);
  const entries = parts.map(({ entry }) => entry);
  if (kind === 'ada') {
    if (entries.length !== 1) throw new InputError(`${full}: ada takes one policy`);
    const [entry] = entries;
    if (!('ada' in entry.options))
      throw new InputError(`${full}: the policy ${entry.name} has no scores that groups could share a budget by`);
    return { entry, options: { ada: true, ...options } };
  }
  if (kind === 'routed' && entries.length !== 2)
    throw new InputError(`${full}: routed takes two policies: of groups that read the past, and of the others`);
  return {
    entry: kind === 'mix' ? once(mixPolicies(entries), entries) : once(routedPolicy(entries[0], entries[1]), entries),
    options,
  };
}

/** Caches of the same policies have the same entry, so they share their steps. */
const MADE = new Map<string, { readonly parts: readonly PolicyEntry[]; readonly entry: PolicyEntry }>();

function once(entry: PolicyEntry, parts: readonly PolicyEntry[]): PolicyEntry {
  const before = MADE.get(entry.name);
  if (before?.parts.every((part, i) => part === parts[i])) return before.entry;
  MADE.set(entry.name, { parts, entry });
  return entry;
}

/** @throws InputError where two parts say different things of an option. */
function commonOptions(full: string, parts: readonly PolicyChoice[]): Record<string, unknown> {
  const common: Record<string, unknown> = {};
  for (const { options } of parts)
    for (const [name, value] of Object.entries(options)) {
      if (name in common && common[name] !== value)
        throw new InputError(`${full}: both policies have the option ${name}, so it can't have two values`);
      common[name] = value;
    }
  return common;
}
