/**
 * @file The table of cache policies. A new policy is one file in policies/, and one entry here.
 */
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { closestName, shown } from '../util/option-names.ts';
import { KVCache } from './kv-cache.ts';
import { type CacheOptions, checkOptions, type ScoredPolicyOptions } from './options.ts';
import { dense } from './policies/dense.ts';
import { echo } from './policies/echo.ts';
import { type ExpectedOptions, expectedAttention } from './policies/expected.ts';
import { type H2OOptions, h2o, h2oOriginal } from './policies/h2o.ts';
import { h2oEcho } from './policies/h2o-echo.ts';
import { h2oMax } from './policies/h2o-max.ts';
import { valueLengthH2O } from './policies/h2o-vlen.ts';
import { keyDiff } from './policies/keydiff.ts';
import { keyNorm } from './policies/knorm.ts';
import { type LastRecentOptions, lastRecent } from './policies/last-recent.ts';
import { type LeverageOptions, leverage } from './policies/leverage.ts';
import { type PyramidOptions, pyramidKV } from './policies/pyramid.ts';
import { type QuantizedH2OOptions, quantizedH2O } from './policies/qh2o.ts';
import { routed } from './policies/routed.ts';
import { snapKV } from './policies/snapkv.ts';
import { tova } from './policies/tova.ts';
import { isPolicyEntry } from './policy/define-policy.ts';
import { mixPolicies } from './policy/mix.ts';
import type { PolicyChoice, PolicyEntry } from './policy/policy.ts';
import { isRouted, type RoutedOptions, routedPolicy } from './routing/routed.ts';
import type { CacheShape } from './shape.ts';

/** The options of all policies of the table; each takes its own, and refuses others. */
export interface PolicyOptions
  extends LastRecentOptions,
    ScoredPolicyOptions,
    H2OOptions,
    QuantizedH2OOptions,
    PyramidOptions,
    ExpectedOptions,
    LeverageOptions,
    RoutedOptions {}

const ENTRIES: readonly PolicyEntry[] = [
  dense,
  lastRecent,
  h2o,
  h2oOriginal,
  h2oMax,
  echo,
  h2oEcho,
  valueLengthH2O,
  quantizedH2O,
  tova,
  snapKV,
  pyramidKV,
  expectedAttention,
  keyNorm,
  keyDiff,
  leverage,
  routed,
];

/** All policies by name. */
export const POLICIES: Readonly<Record<string, PolicyEntry>> = Object.fromEntries(
  ENTRIES.map((entry) => [entry.name, entry]),
);

/** Any policy's options, and which one. */
export interface AnyCacheOptions extends PolicyOptions {
  /**
   * Name of a policy of {@link POLICIES}, `ada(name)`, `mix(name, name)`, `routed(name, name)`, one made by
   * `definePolicy`, or by a function of `keyhold/policies`.
   * @default 'dense'
   */
  readonly policy?: string | PolicyEntry | PolicyChoice;
  /**
   * For a model in a worker, in place of `policy`: path or URL of a module whose default export is a policy made by
   * `definePolicy`. Functions can't go to a worker.
   */
  readonly policyModule?: string | URL;
  /** Options that a policy of one's own declares. */
  readonly policyOptions?: Readonly<Record<string, unknown>>;
}

/**
 * Makes a cache.
 * @param growth slots by which its memory grows, for tests.
 * @throws InputError for a policy that is not in the table, options that it does not take, or that are out of range.
 */
export function createCache(shape: CacheShape, options: AnyCacheOptions, growth?: number): KVCache {
  const { entry, options: own } = resolvePolicy(options);
  return new KVCache(shape, entry, settled(shape, entry, own), undefined, growth);
}

/** The options as the cache keeps them. @throws InputError for options out of range. */
function settled(shape: CacheShape, entry: PolicyEntry, options: CacheOptions): CacheOptions {
  if (!entry.settle) return options;
  checkOptions(entry, options);
  const cacheLength = wholeNumber('cacheLength', options.cacheLength);
  return entry.settle({ shape, options: { ...options }, cacheLength }) as unknown as CacheOptions;
}

/** Whether the policy distributes slots by a calibration table. */
export function wantsTable(options: Partial<AnyCacheOptions>): boolean {
  return isRouted(resolvePolicy(options).entry);
}

/**
 * Checks the names of a policy and of its options, before there is a model.
 * @throws InputError for a policy that is not in the table, or an option that it does not take.
 */
export function checkCacheOptions(options: Partial<AnyCacheOptions>): void {
  const { entry, options: own } = resolvePolicy(options);
  checkOptions(entry, own);
}

/** The policy that is asked for, and its options. `ada(name)` is the policy with the option `ada`. */
function resolvePolicy<T extends Partial<AnyCacheOptions>>(given: T): { entry: PolicyEntry; options: CacheOptions } {
  const { policy = 'dense', policyOptions, policyModule, ...rest } = given;
  if (policyModule !== undefined)
    throw new InputError('policyModule is for models in workers: import the policy here, and give it as policy');
  const options = { ...rest, ...policyOptions } as unknown as CacheOptions;
  if (typeof policy !== 'string') {
    const choice = typeof policy === 'object' && policy !== null && 'entry' in policy ? policy : { entry: policy };
    if (!isPolicyEntry(choice.entry))
      throw new InputError(
        `policy must be the name of a cache policy, or one made by definePolicy of keyhold/policies, but is ${shown(policy)}`,
      );
    checkOwnName(choice.entry);
    const bound = 'options' in choice ? choice.options : {};
    return { entry: choice.entry, options: { ...bound, ...options } as CacheOptions };
  }
  const [, wrapped] = /^ada\((.*)\)$/.exec(policy) ?? [];
  if (wrapped === undefined) return { entry: findPolicy(policy), options };
  const entry = findPolicy(wrapped);
  if (!('ada' in entry.options))
    throw new InputError(`ada(${wrapped}): the policy ${wrapped} has no scores that groups could share a budget by`);
  return { entry, options: { ada: true, ...options } as CacheOptions };
}

/**
 * Saved caches find their policy by its name.
 * @throws InputError for a policy that is named like another one of the table.
 */
function checkOwnName({ name, summary }: PolicyEntry): void {
  // A second copy of the library has entries of its own, with the same summaries.
  if (Object.hasOwn(POLICIES, name) && POLICIES[name].summary !== summary)
    throw new InputError(
      `a policy of your own has the name ${name} of an included policy: give definePolicy another name`,
    );
}

/** Policies made of others, by their name: caches of the same ones have the same entry. */
const COMBINED = new Map<string, PolicyEntry>();

/** Names between commas; commas within brackets are a part of a name. */
function splitNames(text: string): string[] {
  const names: string[] = [''];
  let depth = 0;
  for (const letter of text) {
    if (letter === '(') depth++;
    if (letter === ')') depth--;
    if (letter === ',' && depth === 0) names.push('');
    else names[names.length - 1] += letter;
  }
  return names.map((name) => name.trim());
}

/** @throws InputError where there are not two. */
function routedOf(name: string, entries: readonly PolicyEntry[]): PolicyEntry {
  if (entries.length !== 2)
    throw new InputError(`${name}: routed takes two policies: of groups that read the past, and of the others`);
  return routedPolicy(entries[0], entries[1]);
}

/**
 * A policy by its name, or several: `mix(a, b)`.
 * @throws InputError for a name that is not in the table.
 */
export function findPolicy(name: string): PolicyEntry {
  const [, kind, inner] = /^(mix|routed)\((.*)\)$/.exec(name) ?? [];
  if (kind !== undefined) {
    const entries = splitNames(inner).map(findPolicy);
    const entry = kind === 'mix' ? mixPolicies(entries) : routedOf(name, entries);
    if (!COMBINED.has(entry.name)) COMBINED.set(entry.name, entry);
    return COMBINED.get(entry.name)!;
  }
  if (Object.hasOwn(POLICIES, name)) return POLICIES[name];
  const names = Object.keys(POLICIES);
  const near = closestName(name, names);
  throw new InputError(
    `there is no cache policy "${name}"; there are ${names.join(', ')}, and ada(…) and mix(…, …) around those with scores, and routed(…, …)` +
      `${near === undefined ? '' : `; did you mean ${near}?`}`,
  );
}
