/**
 * @file The table of cache policies. A new policy is one file in policies/, and one entry here.
 */
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { checkOptionsObject, closestName, shown } from '../util/option-names.ts';
import { KVCache } from './kv-cache.ts';
import { type CacheOptions, checkOptions, type ScoredPolicyOptions } from './options.ts';
import { dense } from './policies/dense.ts';
import { echo } from './policies/echo.ts';
import { echoKeyDiff } from './policies/echo-keydiff.ts';
import { type ExpectedOptions, expectedAttention } from './policies/expected.ts';
import { type H2OOptions, h2o, h2oOriginal } from './policies/h2o.ts';
import { h2oEcho } from './policies/h2o-echo.ts';
import { h2oMax } from './policies/h2o-max.ts';
import { valueLengthH2O } from './policies/h2o-vlen.ts';
import { keyDiff } from './policies/keydiff.ts';
import { keyNorm } from './policies/knorm.ts';
import { type LastRecentOptions, lastRecent } from './policies/last-recent.ts';
import { type LeverageOptions, leverage } from './policies/leverage.ts';
import { type MergeOptions, merge } from './policies/merge.ts';
import { type PyramidOptions, pyramidKV } from './policies/pyramid.ts';
import { type QuantizedH2OOptions, quantizedH2O } from './policies/qh2o.ts';
import { routed } from './policies/routed.ts';
import { snapKV } from './policies/snapkv.ts';
import { tova } from './policies/tova.ts';
import { policyNamed } from './policy/combine.ts';
import { isPolicyEntry } from './policy/define-policy.ts';
import type { PolicyChoice, PolicyEntry } from './policy/policy.ts';
import { isRouted, type RoutedOptions } from './routing/routed.ts';
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
    MergeOptions,
    RoutedOptions {}

const ENTRIES: readonly PolicyEntry[] = [
  dense,
  lastRecent,
  h2o,
  h2oOriginal,
  h2oMax,
  echo,
  echoKeyDiff,
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
  merge,
  routed,
];

/** All policies by name. */
export const POLICIES: Readonly<Record<string, PolicyEntry>> = Object.fromEntries(
  ENTRIES.map((entry) => [entry.name, entry]),
);

/** A policy: its name, one made by `definePolicy`, or by a function of `keyhold/policies`. */
export type AnyPolicy = string | PolicyEntry | PolicyChoice;

/** Any policy's options, and which one. */
export interface AnyCacheOptions extends PolicyOptions {
  /**
   * Name of a policy of {@link POLICIES}, `ada(name)`, `mix(name, name)`, `routed(name, name)`, one made by
   * `definePolicy`, or by a function of `keyhold/policies`.
   * @default 'dense'; for a cache of a model `lastrec` where a `cacheLength` or `cacheBytes` is given
   */
  readonly policy?: AnyPolicy;
  /**
   * For a model in a worker, in place of `policy`: path or URL of a module whose default export is a policy, as
   * `definePolicy` takes or gives it, or a combination such as `routed(./mine.mjs, lastrec)`. Functions can't go to a
   * worker.
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

/** The policy that is asked for, and its options. */
function resolvePolicy<T extends Partial<AnyCacheOptions>>(given: T): { entry: PolicyEntry; options: CacheOptions } {
  checkOptionsObject('a cache', given);
  const { policy = 'dense', policyOptions, policyModule, ...rest } = given;
  if (policyModule !== undefined)
    throw new InputError('policyModule is for models in workers: import the policy here, and give it as policy');
  const { entry, options } = asChoice(policy);
  return { entry, options: { ...options, ...rest, ...policyOptions } as unknown as CacheOptions };
}

/**
 * A policy that is given by its name, as an object, or with options of its own.
 * @throws InputError for what is none, and for a policy of one's own with the name of an included one.
 */
export function asChoice(policy: AnyPolicy): PolicyChoice {
  if (typeof policy === 'string') return policyNamed(policy, included);
  const choice = typeof policy === 'object' && policy !== null && 'entry' in policy ? policy : { entry: policy };
  if (!isPolicyEntry(choice.entry))
    throw new InputError(
      `policy must be the name of a cache policy, or one made by definePolicy of keyhold/policies, but is ${shown(policy)}`,
    );
  checkOwnName(choice.entry);
  return { entry: choice.entry, options: 'options' in choice ? choice.options : {} };
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

/**
 * A policy by its name, or several: `mix(a, b)`.
 * @throws InputError for a name that is not in the table.
 */
export const findPolicy = (name: string): PolicyEntry => policyNamed(name, included).entry;

/** @throws InputError for a name that is not in the table. */
function included(name: string): PolicyChoice {
  if (Object.hasOwn(POLICIES, name)) return { entry: POLICIES[name], options: {} };
  const names = Object.keys(POLICIES);
  const near = closestName(name, names);
  throw new InputError(
    `there is no cache policy "${name}"; there are ${names.join(', ')}, and ada(…) and mix(…, …) around those with scores, and routed(…, …)` +
      `${near === undefined ? '' : `; did you mean ${near}?`}`,
  );
}
