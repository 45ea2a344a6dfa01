/**
 * @file The options of caches: which ones there are, and whether two caches were made with the same.
 */
import { CacheFullError, InputError } from '../util/errors.ts';
import { checkOptionNames, shown } from '../util/option-names.ts';
import type { BufferChoice } from './buffers.ts';
import type { FrameOptions } from './policy/frame.ts';
import { asksFor, type Need } from './policy/needs.ts';
import type { PolicyEntry } from './policy/policy.ts';

/** Rows that a cache holds at most: each takes memory in JavaScript's heap, beside its slots. */
export const MAX_BATCH = 4096;

/** Options that caches of all policies take. */
export interface CacheOptions {
  /** The budget: the largest number of slots in use after a step, per layer, row and query group. */
  readonly cacheLength: number;
  /**
   * The budget in bytes, or as a text: `64MB`, `512KiB`, or `10%` of a dense float16 cache for the cacheLength (by
   * default the model's context). Models make a cacheLength and a buffer of it, so that {@link CacheMemory.total} stays
   * below at the batch that the cache is made with. The last chunk can be taken back only if it was a single token.
   * @default no limit in bytes
   */
  readonly cacheBytes?: number | string;
  /** Rows of the batch, 4,096 at most. @default 1 */
  readonly batch?: number;
  /** How keys and values are stored: one format for both, or one for each. @default 'float32' */
  readonly buffer?: BufferChoice;
  /**
   * Move what is held closer together when the next token would be at a position that the model was not made for.
   * Policies that keep everything never do.
   * @default true
   */
  readonly rebase?: boolean;
  /**
   * For policies that go by the echo of a chunk: each chunk of a prompt is really read once more right behind itself,
   * with the last tokens before it in front, and what that pays is its echo. It takes twice the time of the prompt, and
   * no slots.
   * @default false
   */
  readonly replay?: boolean;
}

/** The options of a policy that ranks by scores. */
export interface ScoredPolicyOptions extends CacheOptions, FrameOptions {}

/** Options of all caches, whatever their policy. */
export const COMMON_OPTIONS: Readonly<Record<keyof CacheOptions, string>> = {
  cacheLength: 'slots per layer, row and query group: the budget in tokens',
  cacheBytes: 'the budget in bytes, such as 64MB, or 10% of a dense cache',
  batch: 'rows',
  buffer: 'how keys and values are stored',
  rebase: "whether a stream moves on within the model's context",
  replay: 'whether each chunk of a prompt is read twice, for policies that go by its echo: it takes twice the time',
};

/**
 * @throws InputError for an option that the policy does not take, by its name. An option that is undefined is not
 * given.
 */
export function checkOptions({ name, options }: PolicyEntry, given: object): void {
  const known = Object.keys({ ...COMMON_OPTIONS, ...options }).map((option) => [option, true] as const);
  checkOptionNames(`the cache policy ${name}`, given, Object.fromEntries(known));
}

/**
 * Whether chunks are read once more.
 * @throws InputError where the policy has no use for it.
 */
export function readReplay({ name }: PolicyEntry, { replay = false }: CacheOptions, needs: readonly Need[]): boolean {
  if (typeof replay !== 'boolean') throw new InputError(`replay must be true or false, but is ${shown(replay)}`);
  if (replay && !asksFor('echo', needs))
    throw new InputError(
      `replay is for policies that go by the echo of a chunk (echo, routed, and mixtures with echo), and ${name} does not`,
    );
  return replay;
}

/** Whether two caches were made with the same options, but for the number of rows. */
export function sameOptions(a: CacheOptions, b: CacheOptions): boolean {
  const text = (options: CacheOptions) =>
    JSON.stringify(Object.entries({ buffer: 'float32', ...options, batch: undefined }).sort());
  return text(a) === text(b);
}

/** The error of a cache that keeps everything. */
export function cacheFull(cacheLength: number, length: number, more: number): CacheFullError {
  return new CacheFullError(
    `the dense cache holds ${length} of ${cacheLength} tokens and can't take ${more} more; ` +
      'give it a larger cacheLength, shorten the prompt, or choose a policy that evicts (such as lastrec)',
  );
}
