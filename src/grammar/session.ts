/**
 * @file The state of one sequence in a grammar.
 */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { FormatError } from '../util/errors.ts';
import { type Grammar, grammarOf, type TextFormat } from './format.ts';
import type { State } from './machine.ts';
import type { TokenMask } from './masks.ts';

/** Follows a text, token by token. States are immutable, so a copy of a session is cheap. */
export class FormatSession {
  readonly #grammar: Grammar;
  readonly #ends: readonly number[];
  readonly #mask: TokenMask;
  #state: State;
  #closed = false;

  constructor(grammar: Grammar, ends: readonly number[]) {
    this.#grammar = grammar;
    this.#ends = ends;
    this.#state = grammar.machine.start;
    const tokens = Math.max(grammar.trie.bytes.length, ...ends.map((id) => id + 1));
    this.#mask = new Uint32Array(Math.ceil(tokens / 32));
  }

  /** Whether the text is of the format as it is. */
  get complete(): boolean {
    return this.#state.complete;
  }

  /** Whether nothing can follow. */
  get ended(): boolean {
    return this.#closed || (this.#state.complete && this.#state.stacks.length === 0);
  }

  /**
   * The tokens that may come next; those that end the text are among them exactly if it is complete.
   * @throws FormatError where there is none.
   */
  mask(): TokenMask {
    const mask = this.#mask;
    mask.set(this.#grammar.masks.of(this.#state));
    for (const id of this.#ends) mask[id >>> 5] &= ~(1 << (id & 31));
    if (this.#state.complete) {
      for (const id of this.#ends) mask[id >>> 5] |= 1 << (id & 31);
    } else if (mask.every((word) => word === 0)) {
      throw new FormatError('the tokenizer has no token for what the format needs here');
    }
    return mask;
  }

  /** @throws FormatError for a token that the mask does not allow. */
  accept(token: number): void {
    if (this.#ends.includes(token)) {
      this.#closed = true;
      return;
    }
    const { trie, machine } = this.#grammar;
    const bytes = trie.bytes[token];
    const next = bytes && bytes.length > 0 ? machine.run(this.#state, bytes) : null;
    if (!next)
      throw new FormatError(`token ${token} is not allowed by the format here; remove the processor that chose it`);
    this.#state = next;
  }
}

/**
 * A processor of logits that keeps a text to a format, with a state for each sequence.
 * @param ends tokens that end the text.
 * @throws FormatError for what can't be enforced.
 */
export function formatProcessor(format: TextFormat, tokenizer: Tokenizer, ends: readonly number[]) {
  const grammar = grammarOf(format, tokenizer);
  return { create: () => new FormatSession(grammar, ends) };
}
