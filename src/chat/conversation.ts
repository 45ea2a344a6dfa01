/**
 * @file A conversation: messages, and a cache that goes on from turn to turn, so that only what is new is computed.
 */

import type { Generation } from '../engine/generate.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { GeneratedPiece, GenerationSummary } from '../engine/options.ts';
import { resolveCache } from '../engine/prompt.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { InputError } from '../util/errors.ts';
import { answerEnds, type ChatOptions, chatPrompt, templateOf } from './chat.ts';
import type { ChatMessage } from './chat-template.ts';

/** What holds for all answers; `cache` is the cache to use, or options for one. */
export interface ConversationOptions extends Omit<ChatOptions, 'reusePrefix' | 'signal'> {
  /** Messages to begin with, such as one of the `system`. */
  readonly messages?: readonly ChatMessage[];
}

/** A conversation as it is saved, beside its cache. */
export interface ConversationState {
  readonly messages: readonly ChatMessage[];
  /** The text up to the end of the last answer, and its ids. */
  readonly text: string;
  readonly ids: readonly number[];
}

/**
 * The messages of a conversation, and a cache that has seen them. Each turn computes what is new; where the template changes what
 * was (by leaving thoughts out of past answers, say), it computes from there on, as far as the cache can go back.
 */
export class Conversation {
  readonly cache: KVCache;
  readonly #model: LanguageModel;
  readonly #options: ConversationOptions;
  readonly #first: readonly ChatMessage[];
  #messages: readonly ChatMessage[];
  /** The text up to the end of the last answer, as it was written, and its ids. */
  #text = '';
  #ids: readonly number[] = [];
  #busy = false;

  /** @throws InputError for options out of range, and for a model without a chat template. */
  constructor(model: LanguageModel, options: ConversationOptions = {}, state?: ConversationState) {
    const { messages = [] } = options;
    templateOf(model, options);
    this.#model = model;
    this.#options = options;
    this.#first = messages;
    this.#messages = state?.messages ?? messages;
    this.#text = state?.text ?? '';
    this.#ids = state?.ids ?? [];
    this.cache = resolveCache(model, options.cache);
    if (this.cache.batch !== 1)
      throw new InputError(`a conversation is one row, but its cache has ${this.cache.batch}`);
  }

  /** All messages so far, answers included. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /** What is to be saved beside the cache, so that a conversation can go on elsewhere. */
  get state(): ConversationState {
    return { messages: this.#messages, text: this.#text, ids: this.#ids };
  }

  /**
   * Says something, and gives the answer as it comes. When it has ended, both are among the messages; an answer that was cut short
   * as far as it came. Where there is none, nothing was said.
   * @throws InputError for options out of range, and as long as another answer is being given.
   */
  say(
    message: string | ChatMessage | readonly ChatMessage[],
    options: Omit<ChatOptions, 'cache' | 'reusePrefix'> = {},
  ): Answer {
    if (this.#busy) throw new InputError('an answer is being given; read it to its end, or end it by its signal');
    const said = typeof message === 'string' ? [{ role: 'user', content: message }] : [message].flat();
    const messages = [...this.#messages, ...said];
    const all = { ...this.#options, ...options };
    const { text, tokens } = chatPrompt(this.#model, messages, all);
    const ids = this.#follow(text, tokens);
    const generation = this.#model.generate(ids, {
      ...all,
      eosTokenIds: all.eosTokenIds ?? answerEnds(this.#model),
      cache: this.cache,
      reusePrefix: true,
    });
    return new Answer(generation, {
      begin: () => {
        if (this.#busy) throw new InputError('another answer is being given');
        this.#busy = true;
      },
      end: (summary) => {
        this.#busy = false;
        if (summary.tokens.length === 0 && summary.finishReason !== 'eos') return;
        this.#messages = [...messages, this.#messageOf(messages, text + summary.text, summary.text, all)];
        // After a stop string, what was written is more than what is told.
        const whole = summary.finishReason !== 'stop';
        this.#text = whole ? text + summary.text : '';
        this.#ids = whole ? [...ids, ...summary.tokens.map(({ token }) => token)] : [];
      },
    });
  }

  /** Begins anew: only the messages that it began with are left. */
  reset(): void {
    if (this.#busy) throw new InputError('an answer is being given; read it to its end, or end it by its signal');
    this.cache.clear();
    this.#messages = this.#first;
    this.#text = '';
    this.#ids = [];
  }

  /**
   * The answer as a message: its text, less the spaces around it that the template writes by itself, so that what was written is
   * what the template writes.
   */
  #messageOf(messages: readonly ChatMessage[], written: string, answer: string, options: ChatOptions): ChatMessage {
    const texts = [answer, answer.replace(/^ /, ''), answer.trimStart(), answer.trim()];
    const forms = texts.map((content) => ({ role: 'assistant', content }));
    const template = templateOf(this.#model, options);
    const fits = (form: ChatMessage) => {
      try {
        const text = template.render([...messages, form], { ...options, addGenerationPrompt: false });
        return text.startsWith(written);
      } catch {
        return false;
      }
    };
    return forms.find(fits) ?? forms[0];
  }

  /**
   * The ids of a text that goes on from what the cache has seen, where it does. What the model wrote need not be what the tokenizer
   * makes of its text; then its own ids stay.
   */
  #follow(text: string, tokens: readonly number[]): readonly number[] {
    if (this.#ids.length === 0 || startsWith(tokens, this.#ids) || !text.startsWith(this.#text)) return tokens;
    const { tokenizer } = this.#model;
    const before = tokenizer.encode(this.#text, { addSpecialTokens: false });
    const rest = startsWith(tokens, before)
      ? tokens.slice(before.length)
      : tokenizer.encode(text.slice(this.#text.length), { addSpecialTokens: false });
    return [...this.#ids, ...rest];
  }
}

/** An answer on its way: iterate over it for the pieces, or await `done()`. */
export class Answer implements AsyncIterable<GeneratedPiece> {
  readonly #generation: Generation;
  readonly #hooks: { readonly begin: () => void; readonly end: (summary: GenerationSummary) => void };

  /** @internal */
  constructor(
    generation: Generation,
    hooks: { readonly begin: () => void; readonly end: (summary: GenerationSummary) => void },
  ) {
    this.#generation = generation;
    this.#hooks = hooks;
  }

  /** What came of it, whole or not; null until it has ended. */
  get summary(): GenerationSummary | null {
    return this.#generation.summary;
  }

  /** Reads to the end. @throws whatever ended it before its time. */
  async done(): Promise<GenerationSummary> {
    if (!this.summary) for await (const _ of this);
    return this.#generation.done();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedPiece, void, undefined> {
    if (this.summary) throw new InputError('this answer was read already; say something else');
    this.#hooks.begin();
    try {
      yield* this.#generation;
    } finally {
      this.#hooks.end(this.#generation.summary!);
    }
  }
}

function startsWith(list: readonly number[], beginning: readonly number[]): boolean {
  return beginning.length <= list.length && beginning.every((id, i) => list[i] === id);
}
