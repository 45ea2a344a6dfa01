/**
 * @file One sequence of a cache: what does not belong to single slots.
 */
import type { ChunkOutputs } from './chunk.ts';
import { TokenList } from './token-list.ts';

export class Row {
  /** Token ids seen, those evicted included. */
  readonly tokens = new TokenList();
  /** Where the next token's key is rotated to: its position, until the row was rebased. */
  place = 0;
  /** The policy's own numbers. */
  readonly numbers: Float64Array;
  /** The last chunk, while it can be taken back, and what there was before it. */
  last: ChunkOutputs | null = null;
  chunkStart = 0;
  readonly #numbersBefore: Float64Array;
  #placeBefore = 0;

  constructor(numbers: number) {
    this.numbers = new Float64Array(numbers);
    this.#numbersBefore = new Float64Array(numbers);
  }

  /** Makes an empty row one that has seen tokens. */
  open(tokens: ArrayLike<number>, place: number): void {
    this.tokens.push(tokens);
    this.place = place;
  }

  /** A chunk begins. */
  begin(): void {
    this.#numbersBefore.set(this.numbers);
    this.#placeBefore = this.place;
  }

  /** The chunk has come in. */
  advance(chunk: ChunkOutputs, tokens: ArrayLike<number>, places?: readonly number[]): void {
    this.last = chunk;
    this.chunkStart = this.tokens.length;
    this.tokens.push(tokens);
    if (places) for (let t = 0; t < tokens.length; t++) this.place = Math.max(this.place, places[t] + 1);
    else this.place += tokens.length;
  }

  /** The chunk that began does not come in. */
  abandon(): void {
    this.numbers.set(this.#numbersBefore);
    this.last = null;
  }

  /** Takes the last chunk back. */
  revert(): void {
    this.place = this.#placeBefore;
    this.tokens.truncate(this.chunkStart);
    this.abandon();
  }

  /** Goes back to the first `length` tokens. */
  truncate(length: number): void {
    this.place -= this.tokens.length - length;
    this.tokens.truncate(length);
    this.last = null;
  }

  /** The same sequence, whose last chunk can't be taken back. */
  clone(): Row {
    const twin = new Row(this.numbers.length);
    twin.tokens.push(this.tokens.view());
    twin.place = this.place;
    twin.numbers.set(this.numbers);
    return twin;
  }
}
