/**
 * @file Text from token ids that come one at a time.
 */
import { InputError } from '../util/errors.ts';
import type { DecodeOptions, Tokenizer } from './tokenizer.ts';

/**
 * Tokens in the window before it is cut back to its last third, which new tokens need so as not to stand at a
 * beginning.
 */
const WINDOW = 24;
/**
 * What is left has to have a text of this length: more than the three bytes within which UTF-8 that is cut anywhere
 * gets back into step, so that half a character at its start does not reach the new text.
 */
const CONTEXT_TEXT = 4;

export interface StreamDecodeOptions extends DecodeOptions {
  /** Special tokens that are part of the text all the same, by their names. */
  readonly keepSpecialTokens?: readonly string[];
}

/**
 * Gives the text of ids as soon as it is certain. All pieces together are what {@link Tokenizer.decode} makes of all
 * ids, and no piece ends within a character: bytes that are not whole yet are held back. Each id costs the decoding
 * of a window of about {@link WINDOW} ids, however many came before.
 *
 * Where a tokenizer's decoder can't work in pieces (see decoder-kind.ts), all text comes with `flush`.
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #skipped: ReadonlySet<number>;
  #ids: number[] = [];
  /** How much of the window's text was given, in UTF-16 units. */
  #given = 0;
  #limit = WINDOW;

  constructor(tokenizer: Tokenizer, options: StreamDecodeOptions = {}) {
    this.#tokenizer = tokenizer;
    const { skipSpecialTokens = true, keepSpecialTokens = [] } = options;
    const kept = new Set(keepSpecialTokens.map((token) => tokenizer.tokenToId(token)));
    this.#skipped = new Set(skipSpecialTokens ? [...tokenizer.specialTokenIds].filter((id) => !kept.has(id)) : []);
  }

  /** Begins a text that goes on from that of other ids, which is not given again. */
  begin(context: readonly number[]): void {
    this.flush();
    for (const id of context.slice(-WINDOW)) this.push(id);
    if (!this.#tokenizer.decodesInPieces) this.#given = this.#decode(this.#ids).length;
  }

  /**
   * The text that became certain. An id that the tokenizer has no token for has no text: models often have more rows
   * than their tokenizer has tokens.
   * @throws InputError for what is not an id.
   */
  push(id: number): string {
    if (!Number.isSafeInteger(id) || id < 0) throw new InputError(`${id} is not a token id`);
    if (this.#tokenizer.idToToken(id) === undefined) return '';
    if (this.#skipped.has(id)) return '';
    this.#ids.push(id);
    if (!this.#tokenizer.decodesInPieces) return '';
    const text = this.#decode(this.#ids);
    const certain = certainLength(text);
    const piece = text.slice(this.#given, certain);
    this.#given = Math.max(this.#given, certain);
    if (this.#ids.length >= this.#limit) this.#cutBack();
    return piece;
  }

  /** The rest, after which a new sequence may begin. */
  flush(): string {
    const rest = this.#decode(this.#ids).slice(this.#given);
    this.#ids = [];
    this.#given = 0;
    this.#limit = WINDOW;
    return rest;
  }

  #cutBack(): void {
    const context = this.#ids.slice(-Math.ceil(this.#limit / 3));
    const text = this.#decode(context);
    if (text.length < CONTEXT_TEXT) {
      // Tokens with next to no text; the last third of a longer window will have some.
      this.#limit *= 2;
      return;
    }
    this.#ids = context;
    this.#given = certainLength(text);
    this.#limit = WINDOW;
  }

  #decode(ids: readonly number[]): string {
    return this.#tokenizer.decode(ids, { skipSpecialTokens: false });
  }
}

/**
 * How much of a text can no longer change. Bytes that are not a whole character yet are decoded to a single U+FFFD, so
 * at most the last one is in doubt.
 */
function certainLength(text: string): number {
  const last = text.charCodeAt(text.length - 1);
  const open = last === 0xfffd || (last >= 0xd800 && last < 0xdc00);
  return open ? text.length - 1 : text.length;
}
