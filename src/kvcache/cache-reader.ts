/**
 * @file What a cache tells: lengths, tokens, positions, scores, memory. Nothing here changes it.
 */
import { checkArgument, checkHas } from '../util/arguments.ts';
import { INSPECT, inspected } from '../util/inspected.ts';
import { wholeNumber } from '../util/numbers.ts';
import type { BufferChoice } from './buffers.ts';
import {
  type CacheContents,
  type CacheMemory,
  type CacheStats,
  contentsOf,
  memoryOf,
  scoresOf,
  slotOf,
  slotsInOrder,
  statsOf,
} from './inspect.ts';
import { type CacheOptions, checkOptions, readReplay, sameOptions } from './options.ts';
import { isPolicyEntry } from './policy/define-policy.ts';
import type { Policy, PolicyEntry } from './policy/policy.ts';
import { headroomOf } from './rows/headroom.ts';
import type { Row } from './rows/row.ts';
import type { CacheShape } from './shape.ts';
import type { SlotStore } from './slots/slot-store.ts';

export abstract class CacheReader {
  readonly shape: CacheShape;
  readonly options: CacheOptions;
  readonly cacheLength: number;
  readonly buffer: BufferChoice;
  /** The policy's entry of the table. */
  readonly policyEntry: PolicyEntry;
  /** @internal The policy, as made for this cache. */
  readonly rules: Policy;
  /** Whether chunks of several tokens are read once more, for their echo. */
  readonly replay: boolean;
  /** Whether the policy keeps no numbers, and no window hides a token. */
  readonly #isPlain: boolean;
  /** Whether a window hides tokens of some layer. */
  readonly #hasWindows: boolean;
  /** @internal The memory. */
  abstract readonly store: SlotStore;
  /** @internal One for each row of the batch. */
  abstract readonly rows: readonly Row[];

  /**
   * @throws InputError for what is no shape or no policy, and for options that are out of range, or that the policy does
   * not take.
   */
  constructor(shape: CacheShape, entry: PolicyEntry, options: CacheOptions) {
    checkHas('a cache', "a model's shape, as { layers }", shape, 'layers');
    checkArgument('a cache', 'a policy, as POLICIES has them', entry, isPolicyEntry(entry));
    checkOptions(entry, options);
    this.shape = shape;
    this.options = options;
    this.policyEntry = entry;
    this.cacheLength = wholeNumber('cacheLength', options.cacheLength);
    this.buffer = options.buffer ?? 'float32';
    const { cacheLength, buffer } = this;
    this.rules = entry.create({ shape, options: { ...options }, cacheLength, buffer });
    this.replay = readReplay(entry, options, this.rules.needs);
    const { layout, beginChunk } = this.rules;
    const hasState = layout.slotState > 0 || (layout.rowState ?? 0) > 0 || layout.layerState !== undefined;
    this.#hasWindows = shape.layers.some(({ window }) => window !== null);
    this.#isPlain = !hasState && !beginChunk && !this.#hasWindows;
  }

  /** Name of the policy. */
  get policy(): string {
    return this.policyEntry.name;
  }

  /** Rows. */
  get batch(): number {
    return this.rows.length;
  }

  /** @throws InputError for a row that there is not. @internal */
  rowOf(what: string, row: number): Row {
    const { [row]: found, length } = this.rows;
    // The text is made where it is needed only: steps ask for rows all the time.
    if (!found) checkArgument(what, `a row of the cache, from 0 to ${length - 1}`, row, false);
    return found;
  }

  /** Number of tokens that a row has computed (pending ones excluded); the position of the next one. */
  length(row = 0): number {
    return this.rowOf('length', row).tokens.length;
  }

  /** The position that the next token's key is rotated to: {@link length}, until the row was rebased. */
  ropePosition(row = 0): number {
    return this.rowOf('ropePosition', row).ropePosition;
  }

  /**
   * The length of the sequence that a row's last keys were rotated for, where frequencies depend on it; 0: none was
   * stated.
   */
  rotatedFor(row = 0): number {
    return this.rowOf('rotatedFor', row).rotatedFor;
  }

  /** The tokens that a row has computed, those evicted included, pending ones excluded. */
  tokens(row = 0): number[] {
    return this.rowOf('tokens', row).tokens.toArray();
  }

  /** Tokens that belong to a row's sequence, but were not computed: the next chunk of the row must begin with them. */
  pending(row = 0): readonly number[] {
    return this.rowOf('pending', row).pending;
  }

  /**
   * How many more tokens a row may take before the policy gives any up: 0 once its budget is used up, and Infinity
   * where it never gives up what a later token could see. Of a cache that keeps everything: until it is full.
   */
  headroom(row = 0): number {
    this.rowOf('headroom', row);
    return headroomOf(this, row);
  }

  /**
   * @internal Whether a chunk of so many tokens may come in the slots behind those in use alone: nothing here reads its
   * keys and values, and what of it can be taken back needs no copy of them.
   * @param each whether every query is observed by itself: then a part of the chunk can be taken back.
   */
  placesChunk(length: number, each = false): boolean {
    const { reads, readsSingles, needsQueries, needsAlongMean, needs } = this.rules;
    if ((length === 1 ? readsSingles : reads) || needsQueries || needsAlongMean) return false;
    // Queries that were observed together are taken back together.
    const isWhole = length === 1 || (needs.length > 0 && !each && !this.#hasWindows);
    return isWhole || this.leavesRest(length);
  }

  /** @internal Whether a part of a chunk of so many tokens that is taken back leaves all other slots as they are. */
  leavesRest(length: number): boolean {
    return this.#isPlain && this.rows.every((_, row) => this.headroom(row) >= length);
  }

  /** Whether {@link rebase} is possible. */
  get canRebase(): boolean {
    return this.shape.layers.every(({ slots, rotation }) => !slots || rotation !== 'varies');
  }

  /**
   * Whether rows of another cache fit into this one: both have the same policy and options, but for the number of rows.
   */
  fits(other: CacheReader): boolean {
    return (
      other.policyEntry === this.policyEntry && other.shape === this.shape && sameOptions(other.options, this.options)
    );
  }

  /** Positions of the tokens that a layer holds for a row and group, ascending. */
  tokenPositions(layer: number, row = 0, group = 0): number[] {
    this.rowOf('tokenPositions', row);
    return slotsInOrder(this.store, layer, row, group).map(({ position }) => position);
  }

  /**
   * The policy's scores of the tokens that a layer holds, in the order of {@link tokenPositions}; null where it has
   * none.
   */
  scores(layer: number, row = 0, group = 0): number[] | null {
    this.rowOf('scores', row);
    return scoresOf(this.store, layer, row, group);
  }

  /** Positions and scores of all layers. */
  contents(row = 0): CacheContents {
    return contentsOf(this.store, this.rowOf('contents', row).tokens.length, row);
  }

  /** The key and value that a layer holds for a position, as attention reads them; null where it holds none. */
  slot(layer: number, position: number, row = 0, group = 0): { key: Float32Array; value: Float32Array } | null {
    this.rowOf('slot', row);
    return slotOf(this.store, layer, position, row, group);
  }

  memory(): CacheMemory {
    return memoryOf(this.store, this.rows);
  }

  stats(): CacheStats {
    return statsOf(this);
  }

  /** @internal */
  [INSPECT](): string {
    const { policy, cacheLength, seen, held } = this.stats();
    return inspected('KVCache', { policy, cacheLength, buffer: this.buffer, seen, held });
  }
}
