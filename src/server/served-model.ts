/**
 * @file A model that answers turns: its queue, its classes of caches, its sessions.
 */
import { type AnswerFormat, answerFormatOf } from '../chat/answers/formats.ts';
import { AnswerParser } from '../chat/answers/parser.ts';
import type { GeneratedToken } from '../engine/options.ts';
import type { TextCache, TextModel } from '../engine/text-model.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { sha256 } from '../util/sha256.ts';
import { HttpError } from './http-error.ts';
import { FairQueue } from './queue.ts';
import { type SessionStore, Sessions } from './sessions.ts';
import type { Turn, TurnEnd, TurnEvent, TurnToken } from './turn.ts';

/** Options of the caches of a class. */
export interface CacheClass {
  readonly name: string;
  readonly options: Partial<AnyCacheOptions>;
}

export interface ServedModelOptions {
  /** What clients call it. */
  readonly id: string;
  /** The first is the default. */
  readonly cacheClasses: readonly CacheClass[];
  /** Most turns at once. */
  readonly rows: number;
  /** Most turns that wait. */
  readonly queue: number;
  readonly queueMs: number;
  /** Most tokens of an answer, where a request does not say, and at most. */
  readonly maxTokens: number;
  /** Most caches of sessions in memory. */
  readonly sessions: number;
  readonly store: SessionStore | null;
  readonly onLoss: (name: string, error: unknown) => void;
}

export class ServedModel {
  readonly id: string;
  readonly model: TextModel;
  readonly options: ServedModelOptions;
  readonly queue: FairQueue;
  readonly sessions: Sessions;
  readonly created = Math.floor(Date.now() / 1000);
  readonly #format: AnswerFormat | null;

  constructor(model: TextModel, options: ServedModelOptions) {
    this.id = options.id;
    this.model = model;
    this.options = options;
    this.queue = new FairQueue(options.rows, options.queue, options.queueMs);
    const codec = {
      snapshot: (cache: TextCache) => model.snapshot(cache),
      restore: (bytes: Uint8Array) => model.restore(bytes),
    };
    this.sessions = new Sessions(codec, options.sessions, options.store, options.onLoss);
    const template = model.chatTemplate;
    const sources = template && 'sources' in template ? Object.values(template.sources as Record<string, string>) : [];
    this.#format = answerFormatOf(sources.join('\n'));
  }

  /** Whether its answers are read for calls of tools. */
  get callsTools(): boolean {
    return this.#format !== null;
  }

  /**
   * Answers a turn.
   * @param key whose request it is: keys take turns, and sessions belong to them.
   * @throws HttpError, and the library's errors; the signal's reason.
   */
  async *run(turn: Turn, key: string, signal: AbortSignal): AsyncGenerator<TurnEvent, void, undefined> {
    const cacheClass = this.#classOf(turn.cacheClass);
    const entered = performance.now();
    const release = await this.queue.enter(key, signal);
    const queueMs = performance.now() - entered;
    // Whose and of what class a cache is, is a part of its name.
    const session =
      turn.session === null
        ? null
        : sha256(JSON.stringify([this.model.fingerprint, key, cacheClass.name, turn.session]));
    let whole = false;
    let cache: TextCache | null = null;
    try {
      const create = async () => this.model.createCache(cacheClass.options);
      cache = session === null ? await create() : await this.sessions.take(session, create);
      yield* this.#answer(turn, cache, cacheClass.name, queueMs, signal);
      whole = true;
    } finally {
      try {
        // An answer that was broken off leaves a cache that has seen a beginning of it, which is as good.
        if (session !== null && cache) await this.sessions.giveBack(session, whole || signal.aborted);
        else await cache?.dispose();
      } finally {
        release();
      }
    }
  }

  async *#answer(
    turn: Turn,
    cache: TextCache,
    className: string,
    queueMs: number,
    signal: AbortSignal,
  ): AsyncGenerator<TurnEvent, void, undefined> {
    const { input, options } = turn;
    const asked = {
      ...options,
      maxNewTokens: Math.min(options.maxNewTokens ?? this.options.maxTokens, this.options.maxTokens),
    };
    const common = { ...asked, cache, reusePrefix: true, signal };
    const isChat = 'messages' in input;
    const run = isChat
      ? this.model.chat(input.messages, { ...common, tools: input.tools, variables: input.variables })
      : this.model.generate(input.prompt, common);
    const parser = isChat && this.#format ? new AnswerParser(this.#format, this.#startsInReasoning(turn)) : null;
    const wantsTokens = options.topLogprobs !== undefined;
    let calls = 0;
    const eventsOf = function* (parts: ReturnType<AnswerParser['push']>): Generator<TurnEvent> {
      for (const part of parts) {
        if (part.type !== 'tool-call') yield part;
        else if (!turn.singleCall || calls === 0) yield { type: part.type, id: `call_${randomId(9)}`, call: part.call };
        if (part.type === 'tool-call') calls++;
      }
    };
    for await (const { text, tokens } of run) {
      if (wantsTokens) yield { type: 'text', text, tokens: await this.#tokens(tokens) };
      else if (parser) yield* eventsOf(parser.push(text));
      else if (text !== '') yield { type: 'text', text };
    }
    if (parser && !wantsTokens) yield* eventsOf(parser.end());
    const result = run.partial!;
    const { held, evicted, bytes } = result.cache;
    const end: TurnEnd = {
      type: 'end',
      finish: calls > 0 ? 'tool-calls' : result.finishReason === 'length' ? 'length' : 'stop',
      stopString: result.stopString ?? null,
      usage: result.usage,
      cache: { class: className, held: held[0], evicted: evicted[0], bytes },
      timings: { queueMs, prefillMs: result.timings.prefillMs, decodeMs: result.timings.decodeMs },
    };
    yield end;
  }

  /** Some templates begin the thoughts themselves. */
  #startsInReasoning({ input }: Turn): boolean {
    const start = this.#format?.reasoning?.[0];
    if (start === undefined || !('messages' in input)) return false;
    const { tools, variables } = input;
    return this.model.chatTemplate!.render(input.messages, { tools, variables }).trimEnd().endsWith(start);
  }

  async #tokens(tokens: readonly GeneratedToken[]): Promise<TurnToken[]> {
    const textOf = async (token: number) => this.model.tokenizer.decode([token], { skipSpecialTokens: false });
    return Promise.all(
      tokens.map(async ({ token, logprob, top = [] }) => ({
        text: await textOf(token),
        logprob,
        top: await Promise.all(top.map(async (each) => ({ text: await textOf(each.token), logprob: each.logprob }))),
      })),
    );
  }

  #classOf(name: string | null): CacheClass {
    const { cacheClasses } = this.options;
    if (name === null) return cacheClasses[0];
    const found = cacheClasses.find((each) => each.name === name);
    if (found) return found;
    throw new HttpError(
      400,
      `there is no cache class "${name}"; there are ${cacheClasses.map((each) => each.name).join(', ')}`,
      {
        param: 'cache',
      },
    );
  }
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** Letters and digits at random. Ids of calls have nine, which Mistral's template asks for. */
export function randomId(length: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => LETTERS[byte % LETTERS.length]).join('');
}
