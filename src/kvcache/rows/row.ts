/**
 * @file One sequence of a cache: what does not belong to single slots.
 */
import type { ChunkOutputs } from './chunk.ts';
import { TokenList } from './token-list.ts';

/** How many numbers a policy keeps for a row. */
export interface RowStateSizes {
  /** Few: they are copied for each chunk, so that it can be taken back. */
  readonly rowState: number;
  /** Any number: two arrays that change roles with every chunk that changes them. */
  readonly layerState: number;
  /** Of a token's queries, in all layers: 0 where the policy does not ask for queries. */
  readonly queries: number;
  /** Most chunks whose queries are kept. */
  readonly keptChunks: number;
  /** Those of {@link KeySums}. */
  readonly keySums: number;
}

export class Row {
  /** Token ids whose keys and values were computed, those evicted included. */
  readonly tokens = new TokenList();
  /** Tokens of the sequence that are still to be computed. */
  pending: readonly number[] = [];
  /** The position that the next token's key is rotated to: its own, until the row was rebased. */
  ropePosition = 0;
  /** The length of the sequence that the keys were rotated for, where frequencies depend on it; 0: none was stated. */
  rotatedFor = 0;
  readonly sizes: RowStateSizes;
  /** The policy's own numbers of the row. */
  readonly rowState: Float64Array;
  /** The policy's own numbers of all layers. */
  layerState: Float64Array;
  /** What they are to become with the chunk that is being taken in. */
  nextLayerState: Float64Array;
  /** Whether the chunk that is being taken in leaves {@link layerState} as it is. */
  keepsLayerState = false;
  /** The queries of the chunks since it was changed: of each its sums, layer by layer [H, keySize]. */
  keptQueries: readonly Float32Array[] = [];
  /** What {@link KeySums} keeps. */
  readonly keySums: Float64Array;
  /** The last chunk, while it can be taken back, and what there was before it. */
  last: ChunkOutputs | null = null;
  chunkStart = 0;
  readonly #rowStateBefore: Float64Array;
  readonly #keySumsBefore: Float64Array;
  #keptQueriesBefore: readonly Float32Array[] = [];
  #ropePositionBefore = 0;
  #rotatedForBefore = 0;

  constructor(sizes: RowStateSizes) {
    this.sizes = sizes;
    this.rowState = new Float64Array(sizes.rowState);
    this.layerState = new Float64Array(sizes.layerState);
    this.nextLayerState = new Float64Array(sizes.layerState);
    this.#rowStateBefore = new Float64Array(sizes.rowState);
    this.keySums = new Float64Array(sizes.keySums);
    this.#keySumsBefore = new Float64Array(sizes.keySums);
  }

  get bytes(): number {
    return this.tokens.bytes + this.#stateBytes + 4 * this.sizes.queries * this.keptQueries.length;
  }

  /** The most that it takes of a sequence of so many tokens. */
  mostBytes(tokens: number): number {
    return TokenList.mostBytes(tokens) + this.#stateBytes + this.mostQueryBytes;
  }

  /** The most that {@link keptQueries} takes. */
  get mostQueryBytes(): number {
    return 4 * this.sizes.queries * this.sizes.keptChunks;
  }

  get #stateBytes(): number {
    return 2 * (this.rowState.byteLength + this.layerState.byteLength + this.keySums.byteLength);
  }

  /** Whether the queries of one more chunk may be kept, where there are any. */
  get mayKeepQueries(): boolean {
    return this.sizes.queries === 0 || this.keptQueries.length < this.sizes.keptChunks;
  }

  /** Makes an empty row one that has seen tokens. */
  open(tokens: ArrayLike<number>, ropePosition: number): void {
    this.tokens.push(tokens);
    this.ropePosition = ropePosition;
  }

  /** A chunk begins. */
  begin(): void {
    this.#rowStateBefore.set(this.rowState);
    this.#keySumsBefore.set(this.keySums);
    this.#keptQueriesBefore = this.keptQueries;
    this.#ropePositionBefore = this.ropePosition;
    this.#rotatedForBefore = this.rotatedFor;
  }

  /** The chunk has come in. */
  advance(chunk: ChunkOutputs, row: number): void {
    const tokens = chunk.tokens[row];
    const given = chunk.ropePositions?.[row];
    this.last = chunk;
    this.chunkStart = this.tokens.length;
    this.tokens.push(tokens);
    this.pending = this.pending.slice(tokens.length);
    if (given) for (let t = 0; t < tokens.length; t++) this.ropePosition = Math.max(this.ropePosition, given[t] + 1);
    else this.ropePosition += tokens.length;
    this.rotatedFor = chunk.rotatedFor?.[row] ?? this.rotatedFor;
    if (!this.keepsLayerState) {
      this.#swapLayerState();
      this.keptQueries = [];
    } else if (this.sizes.queries > 0) this.keptQueries = [...this.keptQueries, this.#queriesOf(chunk, row)];
  }

  /** The chunk that began does not come in. */
  abandon(): void {
    this.rowState.set(this.#rowStateBefore);
    this.keySums.set(this.#keySumsBefore);
    this.keptQueries = this.#keptQueriesBefore;
    this.last = null;
  }

  /** Takes the last chunk back. */
  revert(): void {
    this.ropePosition = this.#ropePositionBefore;
    this.rotatedFor = this.#rotatedForBefore;
    this.tokens.truncate(this.chunkStart);
    if (!this.keepsLayerState) this.#swapLayerState();
    this.abandon();
  }

  /** Goes back to the first `length` tokens, some of the last chunk's among them, which can still be taken back. */
  shorten(length: number): void {
    this.ropePosition -= this.tokens.length - length;
    this.tokens.truncate(length);
  }

  /** Goes back to the first `length` tokens. */
  truncate(length: number): void {
    this.shorten(length);
    this.last = null;
    this.keySums.fill(Number.NaN);
  }

  /** Its keys were turned to other positions, and the next token's is this. */
  rebase(ropePosition: number): void {
    this.ropePosition = ropePosition;
    this.last = null;
    this.keySums.fill(Number.NaN);
  }

  /** The same sequence, whose last chunk can't be taken back. */
  clone(): Row {
    const twin = new Row(this.sizes);
    twin.tokens.push(this.tokens.view());
    twin.pending = this.pending;
    twin.ropePosition = this.ropePosition;
    twin.rotatedFor = this.rotatedFor;
    twin.rowState.set(this.rowState);
    twin.layerState.set(this.layerState);
    twin.keySums.set(this.keySums);
    twin.keptQueries = this.keptQueries;
    return twin;
  }

  #queriesOf({ queries, tokens }: ChunkOutputs, row: number): Float32Array {
    const own = new Float32Array(this.sizes.queries);
    let to = 0;
    for (const sum of queries!.sum) {
      if (!sum) continue;
      const count = sum.length / tokens.length;
      own.set(sum.subarray(row * count, (row + 1) * count), to);
      to += count;
    }
    return own;
  }

  #swapLayerState(): void {
    const now = this.nextLayerState;
    this.nextLayerState = this.layerState;
    this.layerState = now;
  }
}
