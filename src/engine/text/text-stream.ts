/**
 * @file From tokens to text that is certain: whole characters, and nothing that may still become a stop string.
 */

import { StreamDecoder } from '../../tokenizer/stream-decoder.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { InputError } from '../../util/errors.ts';
import { StopMatcher } from './stop.ts';

export class TextStream {
  readonly #decoder: StreamDecoder | null;
  readonly #stops: StopMatcher | null;
  /** All text that was certain so far. */
  all = '';
  /** The stop string, once one was found. */
  stopped: string | undefined;

  /**
   * @param tokenizer null: there is no text.
   * @throws InputError for stop strings without a tokenizer, or such as can't be found.
   */
  constructor(tokenizer: Tokenizer | null, stops: readonly string[]) {
    if (stops.length > 0 && !tokenizer) throw new InputError('stop strings need a tokenizer, and the model has none');
    this.#decoder = tokenizer && new StreamDecoder(tokenizer, { skipSpecialTokens: true });
    this.#stops = stops.length > 0 ? new StopMatcher(stops) : null;
  }

  push(token: number): string {
    return this.#decoder ? this.#match(this.#decoder.push(token)) : '';
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
