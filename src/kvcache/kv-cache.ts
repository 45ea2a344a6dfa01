/**
 * @file The cache: a store of slots, a policy, and the rows (sequences) whose tokens they hold. It keeps within its
 * budget.
 *
 * A step goes: `reserve` (does the chunk fit?) → the engine attends to all that is held and to the chunk → `append`
 * (the chunk's keys and values come in; the policy sees the weights, and says what stays where that is more than the
 * budget).
 */
import { checkHas, checkList } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { range, wholeNumber } from '../util/numbers.ts';
import { CacheReader } from './cache-reader.ts';
import { CacheGuard, type CacheLease } from './lease.ts';
import { type CacheOptions, cacheFull, MAX_BATCH } from './options.ts';
import type { PolicyEntry } from './policy/policy.ts';
import { Appender } from './rows/append.ts';
import type { ChunkOutputs } from './rows/chunk.ts';
import type { StepListener } from './rows/events.ts';
import { KeySums } from './rows/key-sums.ts';
import { needsRebase, rebaseRow } from './rows/rebase.ts';
import { Row } from './rows/row.ts';
import { checkPending, truncateRow } from './rows/truncate.ts';
import type { CacheShape } from './shape.ts';
import { SlotStore } from './slots/slot-store.ts';
import type { SlotTable } from './slots/slots.ts';
import { KEPT_UNDO_SLOTS } from './slots/undo.ts';

/** Slots by which the memory grows. */
const GROWTH = 64;

/** The keys and values of tokens that a model can attend to, under a policy that decides which of them stay. */
export class KVCache extends CacheReader {
  override readonly store: SlotStore;
  override rows: Row[];
  /** @internal null: the policy does not ask for them. */
  readonly keySums: KeySums | null;
  readonly #guard = new CacheGuard();
  readonly #appender: Appender;
  readonly #growth: number;

  /**
   * @param from a cache of the same shape, policy and options, to share the content of.
   * @param growth slots by which the memory grows.
   * @throws InputError for options that are out of range, or that the policy does not take.
   */
  constructor(shape: CacheShape, entry: PolicyEntry, options: CacheOptions, from?: KVCache, growth = GROWTH) {
    super(shape, entry, options);
    this.#growth = growth;
    const batch = wholeNumber('batch', options.batch ?? 1, 1, MAX_BATCH);
    const { cacheLength, buffer, rules: policy } = this;
    const { layout } = policy;
    const maxSlots = ({ budgets }: SlotTable, group: number) =>
      Math.max(policy.startsWhole ? cacheLength : 0, policy.maxSlots?.(budgets) ?? budgets[group]);
    const sharesBudget = policy.maxSlots !== undefined;
    // A budget in bytes has no space for them, and of groups that share one some would need more than there are.
    const spare = options.cacheBytes === undefined && !sharesBudget ? growth : 0;
    const spec = { shape, layout, cacheLength, buffer, growth, spare, maxSlots, sharesBudget };
    this.store = from?.store.fork() ?? new SlotStore(spec, batch);
    this.rows = from?.rows.map((one) => one.clone()) ?? [];
    this.keySums = policy.needsAlongMean ? new KeySums(shape, this.store.buffers) : null;
    this.#appender = new Appender(this);
    const { layerState, queries } = this.#appender;
    const [rowState, keySums, keptChunks] = [layout.rowState ?? 0, this.keySums?.size ?? 0, policy.mostKeptChunks];
    const sizes = { rowState, layerState, queries, keptChunks, keySums };
    if (!from) this.rows = range(batch).map(() => new Row(sizes));
  }

  /**
   * Sets the tokens that belong to a row's sequence and are not computed yet.
   * @param ids replace what was pending: the last token of a sequence that has ended, say, which nothing was computed
   * for.
   */
  setPending(row: number, ids: readonly number[], lease?: CacheLease): void {
    this.#guard.check('setPending', lease);
    checkList('setPending', 'a list of token ids', ids, Number.isSafeInteger);
    this.rowOf('setPending', row).pending = [...ids];
  }

  /**
   * Reserves the cache for a run: until it is released, whatever changes the cache needs the lease.
   * @throws CacheBusyError while another run has it.
   */
  acquire(user = 'a run'): CacheLease {
    return this.#guard.acquire(user);
  }

  /** Which run has the cache; null: none. */
  get user(): string | null {
    return this.#guard.user;
  }

  /** @throws CacheBusyError while another run has the cache. @internal */
  checkLease(what: string, lease?: CacheLease): void {
    this.#guard.check(what, lease);
  }

  /** Whether a function is called after each step. @internal */
  get observed(): boolean {
    return this.#appender.events.wanted;
  }

  /** Calls a function after each step, with what was written and evicted; returns a function that ends it. */
  on(event: 'step', listener: StepListener): () => void {
    if (event !== 'step') throw new InputError(`a cache has no event "${event}"; there is "step"`);
    return this.#appender.events.add(listener);
  }

  /**
   * Checks whether tokens may come, before anything is computed for them, and sizes the next allocation for all of
   * them.
   * @param counts of each row.
   * @throws CacheFullError where the policy keeps everything and there is not enough left.
   */
  reserve(counts: readonly number[]): void {
    checkList('reserve', 'a number of tokens for each row', counts, Number.isSafeInteger);
    counts.forEach((count, row) => {
      const { length } = this.rowOf('reserve', row).tokens;
      if (!this.rules.evicts && length + count > this.cacheLength) throw cacheFull(this.cacheLength, length, count);
      this.store.expectedLength = Math.max(this.store.expectedLength, length + count);
    });
  }

  /** How much each of a chunk's queries counts for each need that is a sum [needs][newTokens]. */
  queryWeights(newTokens: number): Float32Array[] {
    return this.#appender.queryWeights(newTokens);
  }

  /**
   * Takes the chunk's keys and values in. An error leaves the cache as it was.
   * @throws PolicyError for an error in the policy. CacheBusyError without the lease of the run that has the cache.
   */
  append(chunk: ChunkOutputs, lease?: CacheLease): void {
    this.#guard.check('append', lease);
    checkHas('append', "a step's chunk", chunk, 'tokens');
    chunk.tokens.forEach((tokens, row) => {
      if (tokens.length > 0) checkPending(this.pending(row), tokens, row);
    });
    this.#appender.append(chunk);
    // What it takes to take a long chunk back can be as much as the slots.
    if (this.options.cacheBytes !== undefined && this.store.dropUndo(KEPT_UNDO_SLOTS, this.rules.scoresDecode))
      for (const row of this.rows) row.last = null;
  }

  /**
   * Goes back to the first `length` tokens of a row; pending tokens are dropped. The last chunk can always be taken
   * back as a whole, as if it had never come; a part of it where the policy needs no attention weights and the model
   * has no recurrent states, or the step told its queries apart (`eachQuery`). To go further back is possible only
   * while nothing was evicted, under a policy that keeps no scores, in a model without recurrent states.
   * @throws InputError where that state is not known any more.
   */
  truncate(length: number, row = 0, lease?: CacheLease): void {
    this.#guard.check('truncate', lease);
    this.rowOf('truncate', row);
    const part = truncateRow(this, row, length);
    if (part) this.append(part, lease);
  }

  /**
   * A cache with the same content, which goes on by itself: the memory is shared until one of them writes. The last
   * chunk can be taken back in the original only.
   */
  fork(): KVCache {
    return new KVCache(this.shape, this.policyEntry, { ...this.options, batch: this.batch }, this, this.#growth);
  }

  /** An empty cache of the same policy and options. */
  recreate(batch = 1): KVCache {
    return new KVCache(this.shape, this.policyEntry, { ...this.options, batch }, undefined, this.#growth);
  }

  /** Forgets everything and gives the memory back. */
  clear(lease?: CacheLease): void {
    this.#guard.check('clear', lease);
    this.#clear();
  }

  /**
   * Gives the memory back for good: whatever uses the cache afterwards, a run that has it included, gets an InputError.
   */
  dispose(): void {
    this.#guard.dispose(() => this.#clear());
  }

  /** Forgets a row. */
  clearRow(row: number, lease?: CacheLease): void {
    this.#guard.check('clearRow', lease);
    const { sizes } = this.rowOf('clearRow', row);
    this.store.clearRow(row);
    this.rows[row] = new Row(sizes);
  }

  /** Gives memory back that no row needs any more, as after long rows have left. */
  trim(): void {
    this.store.trim();
  }

  /**
   * Changes the number of rows: the first ones stay, new ones are empty. The last chunk can't be taken back any more.
   */
  setBatch(batch: number, lease?: CacheLease): void {
    this.#guard.check('setBatch', lease);
    wholeNumber('batch', batch, 1, MAX_BATCH);
    this.store.setBatch(batch);
    const { sizes } = this.rows[0];
    this.rows = range(batch).map((row) => this.rows[row] ?? new Row(sizes));
    for (const row of this.rows) row.last = null;
  }

  /**
   * Copies a row from another cache that {@link fits}, or from this one. Its last chunk can't be taken back here.
   * @throws InputError where the caches differ.
   */
  copyRow(source: KVCache, from: number, to: number, lease?: CacheLease): void {
    this.#guard.check('copyRow', lease);
    checkHas('copyRow', 'a cache, as createCache gives it', source, 'rows');
    if (!this.fits(source))
      throw new InputError(
        `a row of a ${source.policy} cache does not fit into this ${this.policy} cache: both must be of one model, with the same policy and options`,
      );
    const copied = source.rowOf('copyRow', from);
    this.rowOf('copyRow', to);
    this.store.copyRow(source.store, from, to);
    this.rows[to] = copied.clone();
  }

  /**
   * Moves the held tokens of a row closer together, as if the evicted ones had never been: the next token's position
   * for the rotation is then as small as can be. For sequences that grow beyond what the model was made for. The last
   * chunk can't be taken back any more.
   * @throws InputError where the model's keys can't be moved.
   */
  rebase(row = 0, lease?: CacheLease): void {
    this.#guard.check('rebase', lease);
    if (!this.canRebase)
      throw new InputError(
        "this model's keys can't be moved to other positions: their rotation depends on the length (see canRebase)",
      );
    this.rowOf('rebase', row).rebase(rebaseRow(this.shape, this.store, row, this.rules.sinks));
  }

  /**
   * Rebases a row where its next `count` tokens would otherwise exceed a model's `limit` of positions, if that helps.
   * @internal
   */
  fitPositions(row: number, count: number, limit: number, lease?: CacheLease): void {
    if (needsRebase(this, row, count, limit)) this.rebase(row, lease);
  }

  #clear(): void {
    this.store.clear();
    this.rows = this.rows.map(({ sizes }) => new Row(sizes));
  }
}
