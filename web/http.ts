/**
 * @file A model behind `keyhold serve`: text by its routes of OpenAI's protocol, and what its caches hold.
 */
import type { CacheContents } from '../src/exports/policies.ts';
import type {
  CacheChoice,
  CacheReport,
  Conversation,
  Message,
  PageModel,
  PieceOptions,
  TextPiece,
  Watcher,
} from './engine.ts';

const POLL_MS = 250;

/** What GET /v1/models says of a model. */
interface ListedModel {
  readonly id: string;
  readonly max_model_len: number;
  readonly keyhold: {
    readonly loaded: true;
    readonly weights: string;
    readonly layers: number;
    readonly chat: boolean;
    readonly cache_classes: readonly { name: string; policy?: string; cacheLength?: number }[];
  };
}

/** A session as GET /caches lists it. */
export interface ListedCache {
  readonly model: string;
  readonly cache: string;
  readonly session: string;
  readonly busy: boolean;
  readonly policy: string;
  readonly seen: number;
  readonly held: number;
  readonly evicted: number;
  readonly bytes: number;
}

interface Snapshot extends CacheReport {
  readonly contents: CacheContents;
}

/** Asks for a key when the server wants one. */
export type AskKey = () => Promise<string>;

/** Requests to the server of the page. */
export class Server {
  readonly #askKey: AskKey;
  #key = '';

  constructor(askKey: AskKey) {
    this.#askKey = askKey;
  }

  /** @throws Error with the server's message. */
  async fetch(path: string, body?: object, signal?: AbortSignal): Promise<Response> {
    for (;;) {
      const response = await fetch(path, {
        method: body ? 'POST' : 'GET',
        headers: {
          ...(body ? { 'content-type': 'application/json' } : {}),
          ...(this.#key ? { authorization: `Bearer ${this.#key}` } : {}),
        },
        body: body && JSON.stringify(body),
        signal,
      });
      if (response.ok) return response;
      if (response.status === 401) {
        this.#key = await this.#askKey();
        continue;
      }
      const { error } = await response.json().catch(() => ({ error: null }));
      throw new Error(error?.message ?? `the server answered ${response.status}`);
    }
  }

  async json<T>(path: string, body?: object): Promise<T> {
    return (await this.fetch(path, body)).json();
  }

  /** The models that write, as far as they are in memory. */
  async models(): Promise<readonly ListedModel[]> {
    const { data } = await this.json<{ data: readonly (ListedModel | { keyhold: { loaded?: false } })[] }>('v1/models');
    return data.filter((each): each is ListedModel => each.keyhold.loaded === true);
  }

  async caches(): Promise<readonly ListedCache[]> {
    return (await this.json<{ data: ListedCache[] }>('caches')).data;
  }
}

export class HttpModel implements PageModel {
  readonly id: string;
  readonly about: string;
  readonly place: string;
  readonly layers: number;
  readonly isChat: boolean;
  readonly policies: readonly string[];
  readonly #server: Server;
  readonly #model: ListedModel;

  constructor(server: Server, model: ListedModel) {
    this.#server = server;
    this.#model = model;
    this.id = model.id;
    const { weights, layers, chat, cache_classes } = model.keyhold;
    this.about = `${model.id} · ${layers} layers, context ${model.max_model_len}, ${weights}`;
    this.place = `server ${location.host}`;
    this.layers = layers;
    this.isChat = chat;
    this.policies = cache_classes.map(({ name }) => name);
  }

  titleOf({ policy: name, session }: CacheChoice): string {
    const { policy, cacheLength } = this.#model.keyhold.cache_classes.find((each) => each.name === name)!;
    const about = `${name}: ${policy ?? 'dense'}${cacheLength === undefined ? '' : `, ${cacheLength} slots`}`;
    return session === undefined ? about : `Session ${session.slice(0, 12)}, ${about}`;
  }

  async slotLimits(): Promise<null> {
    return null;
  }

  async converse({ policy, session }: CacheChoice, watcher: Watcher): Promise<Conversation> {
    return new Session(this.#server, this.#model, policy, session ?? crypto.randomUUID(), watcher);
  }

  async decode(token: number): Promise<string> {
    const body = { model: this.#model.id, tokens: [token] };
    return (await this.#server.json<{ prompt: string }>('detokenize', body)).prompt;
  }

  async dispose(): Promise<void> {}
}

class Session implements Conversation {
  readonly #id: string;
  readonly #server: Server;
  readonly #model: ListedModel;
  readonly #cacheClass: string;
  readonly #watcher: Watcher;

  constructor(server: Server, model: ListedModel, cacheClass: string, id: string, watcher: Watcher) {
    this.#id = id;
    this.#server = server;
    this.#model = model;
    this.#cacheClass = cacheClass;
    this.#watcher = watcher;
  }

  async *write(input: string | readonly Message[], options: PieceOptions): AsyncGenerator<TextPiece> {
    const { maxNewTokens, temperature, signal } = options;
    const isChat = typeof input !== 'string';
    const response = await this.#server.fetch(
      isChat ? 'v1/chat/completions' : 'v1/completions',
      {
        model: this.#model.id,
        ...(isChat ? { messages: input } : { prompt: input }),
        ...{ max_tokens: maxNewTokens, temperature, seed: 1, stream: true },
        ...{ session_id: this.#id, cache: this.#cacheClass },
      },
      signal,
    );
    const stop = this.#poll();
    try {
      for await (const data of serverEvents(response.body!)) {
        const { choices, error } = JSON.parse(data);
        if (error) throw new Error(error.message);
        const [choice] = choices ?? [];
        const text = choice?.text ?? `${choice?.delta?.reasoning_content ?? ''}${choice?.delta?.content ?? ''}`;
        // Each event has the text of one token, as a rule.
        if (text !== '') yield { text, tokens: 1 };
      }
    } finally {
      await stop();
    }
  }

  async report(): Promise<CacheReport | null> {
    const snapshot = await this.#snapshot();
    if (snapshot) this.#watcher.onContents(snapshot.contents);
    return snapshot;
  }

  async contents(): Promise<CacheContents | null> {
    return (await this.#snapshot())?.contents ?? null;
  }

  async dispose(): Promise<void> {}

  /** null: the server does not have this session's cache in memory. */
  async #snapshot(): Promise<Snapshot | null> {
    const query = new URLSearchParams({ model: this.#model.id, cache: this.#cacheClass, session: this.#id });
    return this.#server.json<Snapshot>(`caches/contents?${query}`).catch(() => null);
  }

  /** Watches the cache while text is written. A large cache takes long to send, and is asked for less often. */
  #poll(): () => Promise<void> {
    let ended = false;
    const run = async () => {
      while (!ended) {
        const started = performance.now();
        const contents = await this.contents();
        if (contents) this.#watcher.onContents(contents);
        const took = performance.now() - started;
        await new Promise((resolve) => setTimeout(resolve, Math.max(POLL_MS, 3 * took)));
      }
    };
    const running = run();
    return () => {
      ended = true;
      return running;
    };
  }
}

/** The data of a stream's events. */
async function* serverEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = '';
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split('\n\n');
    rest = events.pop()!;
    for (const event of events)
      for (const line of event.split('\n'))
        if (line.startsWith('data: ') && line !== 'data: [DONE]') yield line.slice(6);
  }
}
