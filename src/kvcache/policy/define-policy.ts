/**
 * @file Policies as plain objects: the built-in ones, and a user's own.
 */
import { InputError } from '../../util/errors.ts';
import { checkOptionNames, checkOptionsObject, type OptionNames } from '../../util/option-names.ts';
import { FRAME_OPTIONS, type FrameOptions, framePolicy } from './frame.ts';
import { type Need, REDUCTIONS } from './needs.ts';
import type { PolicyEntry, PolicyRules, PolicySetup } from './policy.ts';

/** What a policy says of itself. At least one of `score`, `rank` and `keep` must be there, or `setup`. */
export interface PolicyDefinition<Options extends object = Readonly<Record<string, unknown>>> extends PolicyRules {
  /** Its name, in messages and saved caches; not that of an included policy. */
  readonly name: string;
  /** What it keeps, in a line. @default 'a policy of your own' */
  readonly summary?: string;
  /** Options of its own, and what they mean: `createCache` refuses others. Their values are in `setup`'s argument. */
  readonly options?: Readonly<Record<string, string>>;
  /** Which of the frame's options it takes. @default all: sinks, recent, ada */
  readonly frame?: readonly (keyof FrameOptions)[];
  /**
   * Makes the rules for one cache, where they depend on options or on the model, or need memory to work with; they add
   * to those of the definition.
   */
  readonly setup?: (setup: PolicySetup<Options & FrameOptions>) => PolicyRules;
}

/**
 * Makes a policy for `createCache({ policy })` of functions. Sinks, recent tokens, order, batches, chunks of any length
 * and quantized buffers are taken care of.
 * @throws InputError where the definition lacks something.
 * @example
 * ```ts
 * import { definePolicy, loadModel } from 'keyhold';
 *
 * // Keeps the keys with the largest norms.
 * const longest = definePolicy({
 *   name: 'longest',
 *   score(group, layer) {
 *     const key = new Float32Array(layer.keySize);
 *     return Array.from({ length: group.length }, (_, j) => {
 *       group.readKey(j, key);
 *       return Math.hypot(...key);
 *     });
 *   },
 * });
 * const model = await loadModel();
 * const cache = { policy: longest, cacheLength: 64 };
 * console.log(await model.generate('And it came to pass', { cache, maxNewTokens: 100 }).text());
 * await model.dispose();
 * ```
 */
export function definePolicy<Options extends object = Readonly<Record<string, unknown>>>(
  definition: PolicyDefinition<Options>,
): PolicyEntry {
  checkOptionsObject('definePolicy', definition);
  const { name, summary = 'a policy of your own', options = {}, frame = FRAME, setup } = definition;
  if (typeof name !== 'string' || name === '') throw new InputError("a policy needs a name, such as name: 'mine'");
  checkOptionNames(`the policy ${name}`, definition, DEFINITION, {}, 'field');
  for (const option of frame)
    if (!FRAME.includes(option))
      throw new InputError(`the policy ${name} takes "${option}" of the frame, but there are ${FRAME.join(', ')}`);
  if (!setup) checkRules(name, definition);
  const taken = Object.fromEntries(frame.map((option) => [option, FRAME_OPTIONS[option]]));
  const rules = (given: PolicySetup): PolicyRules => {
    if (!setup) return definition;
    const made = setup(given as PolicySetup<Options & FrameOptions>) ?? {};
    checkOptionNames(`what setup of the policy ${name} returns`, made, RULES, {}, 'field');
    const own = { ...definition, ...made };
    checkRules(name, own);
    return own;
  };
  return {
    name,
    summary,
    options: { ...taken, ...options },
    create: (given) => framePolicy(name, rules(given), given as PolicySetup<FrameOptions>),
    rules,
  };
}

/** Whether something is a policy, as {@link definePolicy} makes them. */
export function isPolicyEntry(value: unknown): value is PolicyEntry {
  return typeof value === 'object' && value !== null && 'name' in value && 'create' in value;
}

const FRAME: readonly (keyof FrameOptions)[] = ['sinks', 'recent', 'ada'];

/** The fields of rules, and what they must be. */
const RULES = {
  needs: 'list',
  needsOf: 'function',
  needsQueries: 'boolean',
  needsAlongMean: 'boolean',
  reads: 'boolean',
  readsSingles: 'boolean',
  sharing: 'string',
  perGroup: 'boolean',
  evicts: 'boolean',
  startsWhole: 'boolean',
  sinks: 'number',
  recent: 'function',
  recentOf: 'function',
  budget: 'function',
  followsLength: 'boolean',
  slotState: 'number',
  slotStateOf: 'function',
  slotStateType: 'string',
  rowState: 'number',
  layerState: 'function',
  promptTail: 'number',
  scoredByLater: 'boolean',
  scoresDecode: 'boolean',
  refreshes: 'boolean',
  beginChunk: 'function',
  keepsLayerState: 'function',
  mostKeptChunks: 'number',
  observe: 'function',
  score: 'function',
  rank: 'function',
  countedQueries: 'function',
  keep: 'function',
  merge: 'function',
  mergesOf: 'function',
  feedbackOf: 'function',
} satisfies OptionNames<PolicyRules>;

const DEFINITION = {
  ...RULES,
  name: 'string',
  summary: 'string',
  options: 'object',
  frame: 'list',
  setup: 'function',
} satisfies OptionNames<PolicyDefinition>;

const NEEDS = Object.keys(REDUCTIONS) as readonly Need[];

/** @throws InputError for a need that there isn't, a window of no length, and rules that rank nothing. */
function checkRules(name: string, rules: PolicyRules): void {
  const { needs = [], promptTail = 0, evicts = true, sharing = 'none' } = rules;
  if (evicts && !rules.score && !rules.rank && !rules.keep)
    throw new InputError(`the policy ${name} needs a function score, or keep`);
  for (const need of needs)
    if (!NEEDS.includes(need))
      throw new InputError(`the policy ${name} needs "${need}", but there are ${NEEDS.join(', ')}`);
  if (needs.includes('window') && promptTail === 0)
    throw new InputError(
      `the policy ${name} needs "window", so it must also state promptTail, the number of queries in it`,
    );
  if (sharing !== 'none' && (needs.length > 0 || rules.needsQueries))
    throw new InputError(`the policy ${name} shares slots between layers, so it can't see the attention of each`);
  if (rules.merge && (sharing !== 'none' || rules.perGroup === false || rules.slotStateType !== 'float32'))
    throw new InputError(
      `the policy ${name} merges slots, so each group must decide for itself, and slotStateType must be float32`,
    );
  if (rules.needsAlongMean && (sharing !== 'none' || rules.perGroup === false))
    throw new InputError(`the policy ${name} needs the mean of a group's keys, so each group must decide for itself`);
}
