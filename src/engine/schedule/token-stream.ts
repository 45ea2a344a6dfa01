/**
 * @file One sequence that is being written: from logits to tokens, to text that is certain, and to its end.
 */
import type { TextFormat } from '../../grammar/format.ts';
import type { FormatSession } from '../../grammar/session.ts';
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import type { DecoderModel } from '../model.ts';
import type { GeneratedToken, TextChunk, TokenOptions } from '../options.ts';
import { type Proposal, Sampler } from '../sampling/sampler.ts';
import { TextStream } from '../text/text-stream.ts';
import { formatSession } from '../text-format.ts';

/** What it needs of its model. */
type TextTokens = Pick<DecoderModel, 'hasTokenizer' | 'tokenizer' | 'eosTokenIds'>;

const MAX_NEW_TOKENS = 256;

/**
 * @throws InputError for an option out of its range, before there is a prompt. Stop strings are checked with the
 * prompt.
 */
export function checkTokenOptions(options: TokenOptions): void {
  const model = { hasTokenizer: false, eosTokenIds: [] } as unknown as TextTokens;
  new TokenStream(model, { ...options, stop: [], processors: [], format: undefined });
}

export class TokenStream {
  readonly tokens: GeneratedToken[] = [];
  /** Why it is over; null as long as it is not. */
  finishReason: 'eos' | 'stop' | 'length' | null = null;
  readonly #sampler: Sampler;
  readonly #text: TextStream;
  readonly #format: FormatSession | null;
  readonly #isJson: boolean;
  readonly #ends: ReadonlySet<number>;
  readonly #maxNewTokens: number;
  readonly #topLogprobs: number;
  #context: number[] = [];
  #promptLength = 0;
  #pending: GeneratedToken[] = [];

  /** @throws InputError for an option out of its range. */
  constructor(model: TextTokens, options: TokenOptions) {
    const ends = options.eosTokenIds ?? model.eosTokenIds;
    for (const id of ends) wholeNumber('a token id of eosTokenIds', id, 0);
    this.#ends = new Set(ends);
    const format = options.format === undefined ? null : sessionOf(model, options.format, ends);
    this.#format = format;
    this.#isJson = format !== null && ['json', 'json_schema'].includes(options.format!.type);
    const processors = format ? [...(options.processors ?? []), { create: () => format }] : options.processors;
    this.#sampler = new Sampler({ ...options, processors });
    const stops = typeof options.stop === 'string' ? [options.stop] : (options.stop ?? []);
    this.#text = new TextStream(model.hasTokenizer ? model.tokenizer : null, stops, options.keepSpecialTokens);
    this.#maxNewTokens = wholeNumber('maxNewTokens', options.maxNewTokens ?? MAX_NEW_TOKENS);
    this.#topLogprobs = wholeNumber('topLogprobs', options.topLogprobs ?? 0, 0);
  }

  /** Prepares processors; null: none wants it. */
  prepare(): Promise<unknown> | null {
    return this.#sampler.prepare();
  }

  /** Says which tokens come before the first one. */
  begin(prompt: readonly number[]): void {
    this.#context = [...prompt];
    this.#promptLength = prompt.length;
    this.#text.begin(prompt);
  }

  /** All tokens: the prompt's, then those that were written. */
  get context(): readonly number[] {
    return this.#context;
  }

  /** The token that was written last. */
  get last(): number {
    return this.tokens[this.tokens.length - 1].token;
  }

  /** All text that was given out. */
  get text(): string {
    return this.#text.all;
  }

  /** The value of the text, where it is JSON by its format and complete; undefined otherwise. */
  get parsed(): unknown {
    return this.#isJson && this.#format!.complete && this.finishReason !== 'stop' ? JSON.parse(this.text) : undefined;
  }

  get stopString(): string | undefined {
    return this.#text.stopped;
  }

  /**
   * Chooses the next token.
   * @param logits [V]
   * @param proposal the drafted token of this position, if any.
   * @returns what became certain, if anything did.
   * @throws GraphError, InputError as {@link Sampler.sample}.
   */
  take(logits: Float32Array, proposal: Proposal | null = null): TextChunk | null {
    const context = { tokens: this.#context, promptLength: this.#promptLength };
    const made = this.#sampler.sample(logits, context, this.#topLogprobs, proposal);
    if (this.#ends.has(made.token)) {
      this.finishReason = 'eos';
      return null;
    }
    this.tokens.push(made);
    this.#pending.push(made);
    this.#context.push(made.token);
    const text = this.#text.push(made.token);
    if (this.#text.stopped !== undefined) this.finishReason = 'stop';
    else if (this.#sampler.ended) this.finishReason = 'eos';
    else if (this.tokens.length >= this.#maxNewTokens) this.finishReason = 'length';
    return text === '' ? null : this.#chunkOf(text);
  }

  /** What was held back, after the last token. */
  end(): TextChunk | null {
    const text = this.#text.end();
    return text === '' && this.#pending.length === 0 ? null : this.#chunkOf(text);
  }

  #chunkOf(text: string): TextChunk {
    const tokens = this.#pending;
    this.#pending = [];
    return { text, tokens };
  }
}

/** The state of a format. @throws InputError, FormatError */
function sessionOf(model: TextTokens, format: TextFormat, ends: readonly number[]): FormatSession {
  if (!model.hasTokenizer)
    throw new InputError(
      'format needs a tokenizer, and the model has none: add its tokenizer.json, or leave format out',
    );
  return formatSession(format, model.tokenizer, ends);
}
