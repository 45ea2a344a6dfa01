/**
 * @file A model that answers turns: its queue, its classes of caches, its sessions.
 */
import { type AnswerFormat, answerFormatOf, markerTokens } from '../chat/answers/formats.ts';
import { AnswerParser } from '../chat/answers/parser.ts';
import type { Usage } from '../engine/options.ts';
import { checkModelCall, type TextCache, type TextModel } from '../engine/text-model.ts';
import { FormatError, WorkerError } from '../util/errors.ts';
import { sha256 } from '../util/sha256.ts';
import { answerEvents, emptyAnswer } from './answer-events.ts';
import { type CacheClass, CacheClasses } from './cache-classes.ts';
import { echoOf } from './echo.ts';
import { HttpError } from './http-error.ts';
import { merged } from './merge.ts';
import { FairQueue, type Release, type RequestSize } from './queue.ts';
import { type NamedSession, type SessionStore, Sessions, type TakenCache } from './sessions/sessions.ts';
import { type ChoiceEvent, mostTokens, type Turn, type TurnEnd, type TurnEvent } from './turn.ts';
import { refusedFormat, toolSchemas, turnFormatOf } from './turn-format.ts';
import { promptOf, type TurnPrompt } from './turn-prompt.ts';

/** A model in memory, and how it is served. */
export interface ServedModelOptions {
  /** What clients call it: the field `model` of their requests. */
  readonly id: string;
  /** The classes of caches that requests choose from; the first is the default. */
  readonly cacheClasses: readonly CacheClass[];
  /** Largest number of requests that are answered at the same time: rows of the batch. */
  readonly rows: number;
  /** Largest number of requests that wait; the server refuses more with status 429. */
  readonly queue: number;
  /** Milliseconds that a request waits at most; it is then refused with status 503. */
  readonly queueMs: number;
  /** Largest number of tokens of an answer. It is also the number for requests that give none. */
  readonly maxTokens: number;
  /**
   * Largest number of idle caches in memory: those of sessions, and those of other requests, whose prompts may come
   * again.
   */
  readonly sessions: number;
  /** Most bytes of all caches. Idle ones leave the memory first; then requests wait. @default any number */
  readonly cacheBytes?: number;
  /** Where the caches of sessions go when they leave the memory; null: they are lost. */
  readonly store: SessionStore | null;
  /** Told of a session's cache that could not be saved or read, and of an engine that could not be started again. */
  readonly onLoss: (name: string, error: unknown) => void;
  /** Whether requests with this key may use the model. @default all */
  readonly allows?: (key: string) => boolean;
  /** Loads the model again where its thread has ended. @default requests are refused from then on */
  readonly reload?: () => Promise<TextModel>;
}

const REQUIRED = [
  'id',
  'cacheClasses',
  'rows',
  'queue',
  'queueMs',
  'maxTokens',
  'sessions',
  'store',
  'onLoss',
] as const;

/** A model that a server answers with: a `ModelEntry` that is always in memory, with its queue and its sessions. */
export class ServedModel {
  /** What clients call it. */
  readonly id: string;
  /** The options that it was made with. */
  readonly options: ServedModelOptions;
  /** Requests that wait for a row. */
  readonly queue: FairQueue;
  /** The caches of conversations between their requests. */
  readonly sessions: Sessions;
  /** Seconds since 1970. */
  readonly created = Math.floor(Date.now() / 1000);
  readonly #format: AnswerFormat | null;
  #model: TextModel;
  #loading: Promise<void> | null = null;
  #restarts = 0;
  readonly #classes: CacheClasses;

  /**
   * @param model stays the caller's: dispose of it after the server has closed.
   * @throws InputError for what is no model, and for options that are missing.
   */
  constructor(model: TextModel, options: ServedModelOptions) {
    checkModelCall('a ServedModel', model, options, REQUIRED);
    this.id = options.id;
    this.#model = model;
    this.options = options;
    this.#classes = new CacheClasses(options.cacheClasses);
    this.queue = new FairQueue(options.rows, options.queue, options.queueMs, options.cacheBytes);
    const codec = {
      snapshot: (cache: TextCache) => this.#model.snapshot(cache),
      restore: (bytes: Uint8Array, cacheClass: string) => {
        const { policy, policyModule } = this.#classes.find(cacheClass).options;
        return this.#model.restore(bytes, typeof policy === 'object' ? { policy } : { policyModule });
      },
    };
    this.sessions = new Sessions(codec, {
      most: options.sessions,
      mostBytes: () => (options.cacheBytes ?? Number.POSITIVE_INFINITY) - this.queue.bytes,
      store: options.store,
      onLoss: options.onLoss,
      waitMs: options.queueMs,
    });
    const template = model.chatTemplate;
    const sources = template && 'sources' in template ? Object.values(template.sources as Record<string, string>) : [];
    const source = sources.join('\n');
    const format = answerFormatOf(source);
    const thinks = format?.reasoning && source.includes(format.reasoning[1].replace(/<\|message\|>$/, ''));
    this.#format = format && { ...format, reasoning: thinks ? format.reasoning : null };
  }

  /** The one that answers; another one after a restart. */
  get model(): TextModel {
    return this.#model;
  }

  /** The classes of caches that requests choose from; the first is the default. */
  get cacheClasses(): readonly CacheClass[] {
    return this.options.cacheClasses;
  }

  /** Names of its live adapters. */
  get adapters(): readonly string[] {
    return this.model.adapters.names;
  }

  /** Itself: it is in memory. */
  get loaded(): ServedModel {
    return this;
  }

  /** Most tokens of a prompt and its answer in the first class: a dense cache ends at its length. */
  get contextLength(): number {
    const { contextLength } = this.model.config;
    const { policy = 'dense', policyModule, cacheLength = contextLength } = this.options.cacheClasses[0].options;
    return policyModule !== undefined || policy !== 'dense' ? contextLength : Math.min(contextLength, cacheLength);
  }

  /** Whether requests with this key may use it. */
  allows(key: string): boolean {
    return this.options.allows?.(key) ?? true;
  }

  /** The right to use it, which it always gives. */
  async acquire(): Promise<{ readonly served: ServedModel; release(): void }> {
    return { served: this, release: () => {} };
  }

  /** How many times the engine was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** The token ids of a turn's prompt. @throws InputError for messages that the chat template does not take. */
  promptOf(turn: Pick<Turn, 'input'>): Promise<TurnPrompt> {
    return promptOf(this.model, turn, this.#format);
  }

  /** @throws HttpError for a turn that this model can't answer. */
  check(turn: Turn): void {
    const { input, options, cacheClass } = turn;
    this.#classes.find(cacheClass);
    if (!('messages' in input) || !input.tools) return;
    if (!this.#format?.call)
      throw new HttpError(
        400,
        `tools: the chat template of ${this.id} has no tool calls, or in a form that is not known: use a model that was trained for tools, or response_format`,
        {
          param: 'tools',
        },
      );
    if (options.topLogprobs !== undefined)
      throw new HttpError(400, 'logprobs: not together with tools, whose calls are no text', { param: 'logprobs' });
    turnFormatOf(turn, this.#format, 'never');
  }

  /**
   * Answers a turn. Where the engine's thread has ended, it is loaded again for those that come next.
   * @param key whose request it is: keys take turns, and sessions belong to them.
   * @throws HttpError, and the library's errors; the signal's reason.
   */
  async *run(turn: Turn, key: string, signal: AbortSignal): AsyncGenerator<ChoiceEvent, void, undefined> {
    await this.#loading;
    const model = this.#model;
    try {
      yield* this.#run(turn, key, signal);
    } catch (error) {
      if (error instanceof WorkerError && model === this.#model) this.#reload();
      if (error instanceof FormatError) throw refusedFormat(turn, error);
      throw error;
    }
  }

  /** Loads the model again. Its caches are gone; those of sessions are in the store. */
  #reload(): void {
    const { reload, onLoss } = this.options;
    if (!reload || this.#loading) return;
    this.#loading = reload()
      .then((model) => {
        this.sessions.forgetAll();
        this.#model = model;
        this.#restarts++;
      })
      // The next request tries again.
      .catch((error: unknown) => onLoss(`the engine of ${this.id}`, error))
      .finally(() => {
        this.#loading = null;
      });
  }

  async *#run(turn: Turn, key: string, signal: AbortSignal): AsyncGenerator<ChoiceEvent, void, undefined> {
    const { options } = this.#classes.find(turn.cacheClass);
    const prompt = await this.promptOf(turn);
    const session = this.#sessionOf(turn, key);
    // A request that waits for its session has no row meanwhile.
    const unlock = session && (await this.sessions.lock(session, signal));
    let row: Row | null = null;
    let taken: TakenCache | null = null;
    let whole = false;
    try {
      row = await this.#enter(key, signal, await this.#sizeOf(turn, prompt.tokens.length));
      await this.sessions.trim();
      taken = await this.sessions.take({
        space: JSON.stringify([key, this.#classes.find(turn.cacheClass).name, turn.options.adapters]),
        session: unlock ? session : null,
        prompt: prompt.tokens,
        create: async () => this.model.createCache(options),
      });
      const { cache } = taken;
      const echo = await echoOf(this.model, turn, prompt.tokens, cache, signal);
      if (echo) for (let index = 0; index < turn.answers; index++) yield { index, event: echo.event };
      const scoreMs = echo?.scoreMs ?? null;
      if (turn.answers === 1) {
        const admitted = { turn, prompt, cache, queueMs: row.queueMs, scoreMs, signal };
        for await (const event of this.#answer(admitted)) yield { index: 0, event };
      } else yield* this.#answers({ turn, prompt, cache, row, key, scoreMs, signal });
      whole = true;
    } finally {
      try {
        // An answer that was broken off leaves a cache that has seen a beginning of it, which is as good.
        await taken?.giveBack(whole || signal.aborted);
      } finally {
        unlock?.();
        row?.release();
      }
    }
  }

  /** The prompt is computed once, and each answer goes on from a copy of its cache. */
  async *#answers(admitted: AdmittedTurn): AsyncGenerator<ChoiceEvent, void, undefined> {
    const { turn, prompt, cache, row, key, scoreMs, signal } = admitted;
    const { options, answers } = turn;
    // The last token gives the logits of each answer.
    const shared = prompt.tokens.slice(0, -1);
    const run = { cache, signal, reusePrefix: true, maxNewTokens: 1, eosTokenIds: [], adapters: options.adapters };
    // Where the prompt was scored, the cache has computed just that.
    const isRead = shared.length === 0 || scoreMs !== null;
    const usage = isRead ? null : (await this.model.generate(shared, run).result()).usage;
    const base = Math.floor(Math.random() * 2 ** 31);
    const size = await this.#sizeOf(turn, prompt.tokens.length);
    const source = (index: number) => {
      const model = this;
      return async function* (ends: AbortSignal): AsyncGenerator<ChoiceEvent, void, undefined> {
        // The first answer has the row of the prompt. None waits for a row while it has another one.
        const { release, queueMs } =
          index === 0 ? row : await model.#enter(key, ends, { ...size, tokens: size.tokens - prompt.tokens.length });
        const seed = (options.seed ?? base) + index;
        const fork = await cache.fork();
        try {
          const one = { ...turn, options: { ...options, seed } };
          for await (const event of model.#answer({ turn: one, prompt, cache: fork, queueMs, scoreMs, signal: ends }))
            yield {
              index,
              event: event.type === 'end' ? { ...event, usage: sharedUsage(event, index, usage) } : event,
            };
        } finally {
          release();
          await fork.dispose();
        }
      };
    };
    yield* merged(
      Array.from({ length: answers }, (_, index) => source(index)),
      this.options.rows,
      signal,
    );
  }

  async #enter(key: string, signal: AbortSignal, size: RequestSize): Promise<Row> {
    const entered = performance.now();
    const release = await this.queue.enter(key, signal, size);
    return { release, queueMs: performance.now() - entered };
  }

  /** @param prompt tokens of it. */
  async #sizeOf({ options, cacheClass }: Turn, prompt: number): Promise<RequestSize> {
    const most = mostTokens(options, this.options.maxTokens);
    // Most answers are shorter than their limit.
    const tokens = prompt + Math.ceil(most / 4);
    if (this.options.cacheBytes === undefined) return { tokens, bytes: 0 };
    const found = this.#classes.find(cacheClass);
    const limit = await this.#classes.limitOf(found, this.model);
    const cache = found.options;
    // A cache that is limited by bytes may take all of them.
    const slots = cache.cacheBytes === undefined ? (cache.cacheLength ?? this.model.config.contextLength) : 1;
    return { tokens, bytes: Math.ceil(limit * Math.min(1, (prompt + most) / slots)) };
  }

  /** The cache of a turn's session by a name that says whose it is and of what class; `user` names a session, too. */
  #sessionOf({ session, user, cacheClass, options }: Turn, key: string): NamedSession | null {
    const id = session ?? user ?? null;
    if (id === null) return null;
    const owner = { key, cacheClass: this.#classes.find(cacheClass).name, id };
    // A user may have several conversations at once.
    const kind = session === null ? ['user'] : [];
    const adapters = options.adapters === undefined ? [] : [options.adapters];
    const name = sha256(JSON.stringify([this.model.fingerprint, key, owner.cacheClass, id, ...kind, ...adapters]));
    return { name, owner, waits: session !== null };
  }

  async *#answer(running: RunningTurn): AsyncGenerator<TurnEvent, void, undefined> {
    const { turn, cache, queueMs, scoreMs, signal } = running;
    const { tokens: prompt, thinks } = running.prompt;
    const { input, options, singleCall } = turn;
    const isChat = 'messages' in input;
    const tools = toolSchemas(isChat ? input.tools : undefined);
    const { format, enforcesCalls } = turnFormatOf(turn, this.#format, thinks);
    // Without tools, what looks like a call is text.
    const answers = isChat && this.#format ? { ...this.#format, call: tools ? this.#format.call : null } : null;
    const ends = isChat ? this.model.answerEnds : undefined;
    const most = mostTokens(options, this.options.maxTokens);
    const generate = (maxNewTokens: number) =>
      this.model.generate(prompt, {
        ...options,
        format: format ?? undefined,
        keepSpecialTokens: answers ? markerTokens(answers) : [],
        // Harnesses drop the one token behind a prompt that they score: it is there also where it is an end.
        eosTokenIds: scoreMs !== null && most === 1 ? [] : (options.eosTokenIds ?? ends),
        maxNewTokens,
        cache,
        reusePrefix: true,
        signal,
      });
    const parser =
      answers && new AnswerParser(answers, { startsInReasoning: thinks === 'begun', tools, enforced: enforcesCalls });
    const reading = {
      parser,
      endsAfterCall: singleCall && !enforcesCalls,
      singleCall,
      tokenizer: options.topLogprobs === undefined ? null : this.model.tokenizer,
    };
    const { finish, reasoningTokens, result } =
      most === 0 ? await emptyAnswer(generate(1)) : yield* answerEvents(generate(most), reading);
    const { stopString = null, usage, cache: filled, timings } = result;
    const { held, evicted, bytes } = filled;
    const { prefillMs, decodeMs } = timings;
    yield {
      type: 'end',
      finish,
      stopString,
      usage: scoreMs === null ? usage : { ...usage, cachedTokens: 0 },
      reasoningTokens,
      cache: { class: this.#classes.find(turn.cacheClass).name, held: held[0], evicted: evicted[0], bytes },
      timings: { queueMs, prefillMs: (scoreMs ?? 0) + prefillMs, decodeMs },
    };
  }
}

/** The right of a turn to run. */
interface Row {
  readonly release: Release;
  /** How long it waited. */
  readonly queueMs: number;
}

/** A turn, and what its answer goes on from. */
interface RunningTurn {
  readonly turn: Turn;
  readonly prompt: TurnPrompt;
  readonly cache: TextCache;
  readonly queueMs: number;
  /** Milliseconds of the prompt's log probabilities; null: none were asked for. */
  readonly scoreMs: number | null;
  readonly signal: AbortSignal;
}

/** A turn that has a row. */
interface AdmittedTurn extends Omit<RunningTurn, 'queueMs'> {
  readonly row: Row;
  readonly key: string;
}

/** What one of several answers counts: the tokens of the prompt are the first one's. */
function sharedUsage({ usage }: TurnEnd, index: number, prompt: Usage | null): Usage {
  if (index > 0) return { ...usage, promptTokens: 0, cachedTokens: 0 };
  return prompt ? { ...usage, cachedTokens: prompt.cachedTokens } : usage;
}
