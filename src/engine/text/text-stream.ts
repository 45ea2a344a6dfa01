/**
 * @file From tokens to text that is certain: whole characters, and nothing that may still become a stop string.
 */
import { StreamDecoder } from '../../tokenizer/stream-decoder.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { InputError } from '../../util/errors.ts';
import { StopMatcher } from './stop.ts';

export class TextStream {
  readonly #tokenizer: Tokenizer | null;
  readonly #decoder: StreamDecoder | null;
  /** Special tokens have no text, so a stop string that is one is found by its id. */
  readonly #stopTokens: ReadonlyMap<number, string>;
  readonly #stops: StopMatcher | null;
  /** All text that was certain so far. */
  all = '';
  /** The stop string, once one was found. */
  stopped: string | undefined;

  /**
   * @param tokenizer null: there is no text.
   * @param keepSpecialTokens names of special tokens that are part of the text.
   * @throws InputError for stop strings without a tokenizer, or such as can't be found.
   */
  constructor(tokenizer: Tokenizer | null, stops: readonly string[], keepSpecialTokens: readonly string[] = []) {
    if (stops.length > 0 && !tokenizer)
      throw new InputError(
        'stop strings need a tokenizer, and the model has none: add its tokenizer.json, or leave stop out',
      );
    this.#tokenizer = tokenizer;
    this.#stopTokens = new Map(
      stops
        .map((stop) => [tokenizer?.tokenToId(stop) ?? -1, stop] as const)
        .filter(([id]) => tokenizer?.specialTokenIds.has(id)),
    );
    this.#decoder = tokenizer && new StreamDecoder(tokenizer, { keepSpecialTokens });
    this.#stops = stops.length > 0 ? new StopMatcher(stops) : null;
  }

  /** Says which tokens come before: the text goes on from theirs, as with the space that a first token would lose. */
  begin(prompt: readonly number[]): void {
    const known = this.#tokenizer?.vocabSize ?? 0;
    this.#decoder?.begin(prompt.filter((id) => id < known));
  }

  push(token: number): string {
    if (!this.#decoder || this.stopped !== undefined) return '';
    const stop = this.#stopTokens.get(token);
    if (stop === undefined) return this.#match(this.#decoder.push(token));
    const text = this.end();
    this.stopped ??= stop;
    return text;
  }

  /** No more tokens come. */
  end(): string {
    if (!this.#decoder || this.stopped !== undefined) return '';
    const piece = this.#match(this.#decoder.flush());
    const rest = this.stopped === undefined ? (this.#stops?.flush() ?? '') : '';
    this.all += rest;
    return piece + rest;
  }

  #match(text: string): string {
    const { emit, stopped } = this.#stops?.push(text) ?? { emit: text, stopped: undefined };
    this.stopped = stopped;
    this.all += emit;
    return emit;
  }
}
