/**
 * @file The table of cache policies. A new policy is one file in policies/, and one row here.
 */
import { InputError } from '../util/errors.ts';
import { closestName } from '../util/option-names.ts';
import { KVCache } from './kv-cache.ts';
import { mixPolicies } from './mix.ts';
import { type CacheOptions, checkOptions, type ScoredPolicyOptions } from './options.ts';
import { dense } from './policies/dense.ts';
import { type ExpectedOptions, expectedAttention } from './policies/expected.ts';
import { type H2OOptions, h2o, h2oOriginal } from './policies/h2o.ts';
import { valueLengthH2O } from './policies/h2o-vlen.ts';
import { keyDiff } from './policies/keydiff.ts';
import { keyNorm } from './policies/knorm.ts';
import { type LastRecentOptions, lastRecent } from './policies/last-recent.ts';
import { type LeverageOptions, leverage } from './policies/leverage.ts';
import { type PyramidOptions, pyramidKV } from './policies/pyramid.ts';
import { type QuantizedH2OOptions, quantizedH2O } from './policies/qh2o.ts';
import { snapKV } from './policies/snapkv.ts';
import { tova } from './policies/tova.ts';
import type { PolicyChoice, PolicyRow } from './policy.ts';
import type { CacheShape } from './shape.ts';

/** The options of all policies of the table; each takes its own, and refuses others. */
export interface PolicyOptions
  extends LastRecentOptions,
    ScoredPolicyOptions,
    H2OOptions,
    QuantizedH2OOptions,
    PyramidOptions,
    ExpectedOptions,
    LeverageOptions {}

const ROWS: readonly PolicyRow[] = [
  dense,
  lastRecent,
  h2o,
  h2oOriginal,
  valueLengthH2O,
  quantizedH2O,
  tova,
  snapKV,
  pyramidKV,
  expectedAttention,
  keyNorm,
  keyDiff,
  leverage,
];

/** All policies by name. */
export const POLICIES: Readonly<Record<string, PolicyRow>> = Object.fromEntries(ROWS.map((row) => [row.name, row]));

/** Any policy's options, and which one. */
export interface AnyCacheOptions extends PolicyOptions {
  /**
   * Name of a policy of {@link POLICIES}, `ada(name)`, `mix(name, name)`, one made by `definePolicy`, or by a function of
   * `keyhold/policies`. @default 'dense'
   */
  readonly policy?: string | PolicyRow | PolicyChoice;
  /**
   * For a model in a worker, in place of `policy`: path or URL of a module whose default export is a policy made by `definePolicy`. Functions
   * can't go to a worker.
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
  const { row, options: own } = resolvePolicy(options);
  return new KVCache(shape, row, own, undefined, growth);
}

/**
 * Checks the names of a policy and of its options, before there is a model.
 * @throws InputError for a policy that is not in the table, or an option that it does not take.
 */
export function checkCacheOptions(options: Partial<AnyCacheOptions>): void {
  const { row, options: own } = resolvePolicy(options);
  checkOptions(row, own);
}

/** The policy that is asked for, and its options. `ada(name)` is the policy with the option `ada`. */
function resolvePolicy<T extends Partial<AnyCacheOptions>>(given: T): { row: PolicyRow; options: CacheOptions } {
  const { policy = 'dense', policyOptions, policyModule, ...rest } = given;
  if (policyModule !== undefined)
    throw new InputError('policyModule is for models in workers: import the policy here, and give it as policy');
  const options = { ...rest, ...policyOptions } as unknown as CacheOptions;
  if (typeof policy !== 'string' && 'row' in policy)
    return { row: policy.row, options: { ...policy.options, ...options } as CacheOptions };
  if (typeof policy !== 'string') return { row: policy, options };
  const [, wrapped] = /^ada\((.*)\)$/.exec(policy) ?? [];
  if (wrapped === undefined) return { row: findPolicy(policy), options };
  const row = findPolicy(wrapped);
  if (!('ada' in row.options))
    throw new InputError(`ada(${wrapped}): the policy ${wrapped} has no scores that groups could share a budget by`);
  return { row, options: { ada: true, ...options } as CacheOptions };
}

/** Mixed policies by their name: caches of the same mix have the same row. */
const MIXED = new Map<string, PolicyRow>();

/**
 * A policy by its name, or several: `mix(a, b)`.
 * @throws InputError for a name that is not in the table.
 */
export function findPolicy(name: string): PolicyRow {
  const [, mixed] = /^mix\((.*)\)$/.exec(name) ?? [];
  if (mixed !== undefined) {
    const row = mixPolicies(mixed.split(',').map((part) => findPolicy(part.trim())));
    if (!MIXED.has(row.name)) MIXED.set(row.name, row);
    return MIXED.get(row.name)!;
  }
  if (Object.hasOwn(POLICIES, name)) return POLICIES[name];
  const names = Object.keys(POLICIES);
  const near = closestName(name, names);
  throw new InputError(
    `there is no cache policy "${name}"; there are ${names.join(', ')}, and ada(…) and mix(…, …) around those with scores` +
      `${near === undefined ? '' : `; did you mean ${near}?`}`,
  );
}
