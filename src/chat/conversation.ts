/**
 * @file A conversation: messages, and a cache that goes on from turn to turn, so that only what is new is computed.
 */
import { type ChatMessage, type TemplateOptions, templateOf } from '../engine/messages.ts';
import type { GenerateOptions, GenerationResult, TextChunk } from '../engine/options.ts';
import { checkConversation } from '../engine/request-options.ts';
import { checkTokenOptions } from '../engine/schedule/token-stream.ts';
import { checkTextModel, type TextCache, type TextModel } from '../engine/text-model.ts';
import { TextRun } from '../engine/text-run.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { InputError } from '../util/errors.ts';

/** Options of a {@link Conversation}, which hold for all answers. `cache` is a cache, or options for a new one. */
export interface ConversationOptions<C = KVCache> extends Omit<GenerateOptions<C>, 'reusePrefix' | 'signal'> {
  /** Messages to begin with, such as a system message. @default none */
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
 * The messages of a conversation, and a cache that has seen them. Each turn computes what is new; where the template
 * changes what was (by leaving thoughts out of past answers, say), it computes from there on, as far as the cache can
 * go back.
 * @example
 * ```ts
 * import { Conversation, loadModel } from 'keyhold';
 *
 * const model = await loadModel('HuggingFaceTB/SmolLM2-360M-Instruct');
 * const conversation = new Conversation(model, { cache: { policy: 'h2o', cacheLength: 1024 }, maxNewTokens: 20 });
 * for await (const { text } of conversation.say('What is the capital of France?')) process.stdout.write(text);
 * console.log(await conversation.say('And of Italy?').text());
 * await model.dispose();
 * ```
 */
export class Conversation<C extends TextCache = KVCache> {
  /** The cache that goes on from turn to turn. */
  readonly cache: C;
  readonly #model: TextModel<C>;
  readonly #options: ConversationOptions<C>;
  readonly #first: readonly ChatMessage[];
  #messages: readonly ChatMessage[];
  /** The text up to the end of the last answer, as it was written, and its ids. */
  #text = '';
  #ids: readonly number[] = [];
  #busy = false;

  /** @throws InputError for options out of range, and for a model without a chat template. */
  constructor(model: TextModel<C>, options: ConversationOptions<C> = {}, state?: ConversationState) {
    checkTextModel('a Conversation', model);
    checkConversation(options);
    const { messages = [] } = options;
    templateOf(model, options);
    this.#model = model;
    this.#options = options;
    this.#first = messages;
    this.#messages = state?.messages ?? messages;
    this.#text = state?.text ?? '';
    this.#ids = state?.ids ?? [];
    this.cache = model.resolveCache(options.cache);
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
   * Sends a message, and gives the answer as it comes. When the answer has ended, both are added to `messages`; of an
   * answer that was cut short, the part that came. Where no token came, nothing is added.
   * @throws InputError for options out of range, and while another answer is being given; the answer throws it when it
   * is read after the conversation went on without it.
   */
  say(
    message: string | ChatMessage | readonly ChatMessage[],
    options: Omit<GenerateOptions, 'cache' | 'reusePrefix'> = {},
  ): Answer {
    if (this.#busy) throw new InputError('an answer is being given; read it to its end, or end it by its signal');
    const said = typeof message === 'string' ? [{ role: 'user', content: message }] : [message].flat();
    const before = this.#messages;
    const messages = [...before, ...said];
    const { messages: _, ...defaults } = this.#options;
    const all = { ...defaults, ...options };
    checkTokenOptions(all);
    const text = templateOf(this.#model, all).render(messages, all);
    let ids: readonly number[] = [];
    const { eosTokenIds = this.#model.answerEnds } = all;
    const start = async () => {
      ids = await this.#encode(text);
      return this.#model.generate(ids, { ...all, eosTokenIds, cache: this.cache, reusePrefix: true });
    };
    return new Answer(start, {
      begin: () => {
        if (this.#busy)
          throw new InputError('another answer is being given; read it to its end, or end it by its signal');
        if (this.#messages !== before)
          throw new InputError(
            'the conversation went on after this was said and before its answer was read; say it again',
          );
        this.#busy = true;
      },
      end: (result) => {
        this.#busy = false;
        if (!result) return;
        if (result.tokens.length === 0 && result.finishReason !== 'eos') return;
        this.#messages = [...messages, this.#messageOf(messages, text + result.text, result.text, all)];
        // After a stop string, what was written is more than what is told.
        const whole = result.finishReason !== 'stop';
        this.#text = whole ? text + result.text : '';
        this.#ids = whole ? [...ids, ...result.tokens.map(({ token }) => token)] : [];
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
   * The answer as a message: its text, less the spaces around it that the template writes by itself, so that what was
   * written is what the template writes.
   */
  #messageOf(messages: readonly ChatMessage[], written: string, answer: string, options: TemplateOptions): ChatMessage {
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
   * The ids of a text that goes on from what the cache has seen, where it does. What the model wrote need not be what
   * the tokenizer makes of its text; then its own ids stay.
   */
  async #encode(text: string): Promise<readonly number[]> {
    const { tokenizer } = this.#model;
    const options = { addSpecialTokens: false };
    const tokens = await tokenizer.encode(text, options);
    if (this.#ids.length === 0 || startsWith(tokens, this.#ids) || !text.startsWith(this.#text)) return tokens;
    const before = await tokenizer.encode(this.#text, options);
    const rest = startsWith(tokens, before)
      ? tokens.slice(before.length)
      : await tokenizer.encode(text.slice(this.#text.length), options);
    return [...this.#ids, ...rest];
  }
}

interface AnswerHooks {
  readonly begin: () => void;
  /** null: the thread of the model has crashed. */
  readonly end: (result: GenerationResult | null) => void;
}

/** An answer on its way: iterate over it for the text as it comes, or await `result()` or `text()`. */
export class Answer extends TextRun {
  readonly #start: () => Promise<TextRun>;
  readonly #hooks: AnswerHooks;
  #run: TextRun | null = null;

  /** @internal */
  constructor(start: () => Promise<TextRun>, hooks: AnswerHooks) {
    super();
    this.#start = start;
    this.#hooks = hooks;
  }

  get partial(): GenerationResult | null {
    return this.#run?.partial ?? null;
  }

  async result(): Promise<GenerationResult> {
    if (!this.partial) for await (const _ of this);
    return this.#run!.result();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TextChunk, void, undefined> {
    if (this.partial) throw new InputError('this answer was read already; say something else');
    this.#hooks.begin();
    try {
      this.#run = await this.#start();
      yield* this.#run;
    } finally {
      this.#hooks.end(this.partial);
    }
  }
}

function startsWith(list: readonly number[], beginning: readonly number[]): boolean {
  return beginning.length <= list.length && beginning.every((id, i) => list[i] === id);
}
