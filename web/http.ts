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

const LOST = 'the connection to the server ended before the answer was complete';

/** What GET /v1/models says of a model that writes. */
export interface ListedModel {
  readonly id: string;
  readonly keyhold: { readonly loaded: boolean };
}

/** What it says of one that is in memory. */
interface LoadedModel extends ListedModel {
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

/** Asks for a key when the server wants one. @param refused the key that it did not accept; '': there was none. */
export type AskKey = (refused: string) => Promise<string>;

/** Requests to the server of the page. */
export class Server {
  readonly #askKey: AskKey;
  #key = '';
  /** Requests that are refused at the same time wait for the same answer. */
  #asked: Promise<void> | null = null;

  constructor(askKey: AskKey) {
    this.#askKey = askKey;
  }

  /** @throws Error with the server's message. */
  async fetch(path: string, body?: object, signal?: AbortSignal): Promise<Response> {
    for (;;) {
      const key = this.#key;
      const response = await fetch(path, {
        method: body ? 'POST' : 'GET',
        headers: {
          ...(body ? { 'content-type': 'application/json' } : {}),
          ...(key ? { authorization: `Bearer ${key}` } : {}),
        },
        body: body && JSON.stringify(body),
        signal,
      }).catch((cause) => {
        throw signal?.aborted ? cause : new Error(`the server ${location.host} does not answer`, { cause });
      });
      if (response.ok) return response;
      if (response.status === 401) {
        // Another request may have a new key already.
        if (key === this.#key) {
          this.#asked ??= this.#newKey(key);
          await this.#asked;
        }
        continue;
      }
      const { error } = await response.json().catch(() => ({ error: null }));
      throw new Error(error?.message ?? `the server answered ${response.status}`);
    }
  }

  async #newKey(refused: string): Promise<void> {
    this.#key = await this.#askKey(refused);
    this.#asked = null;
  }

  async json<T>(path: string, body?: object, signal?: AbortSignal): Promise<T> {
    return (await this.fetch(path, body, signal)).json();
  }

  /** The models that write. */
  async models(): Promise<readonly ListedModel[]> {
    const { data } = await this.json<{ data: readonly (ListedModel | { keyhold: { loaded?: undefined } })[] }>(
      'v1/models',
    );
    return data.filter((each): each is ListedModel => each.keyhold.loaded !== undefined);
  }

  /** A model, which is loaded where it is not in memory. @throws Error with what the server says of it. */
  async open(id: string, signal?: AbortSignal): Promise<HttpModel> {
    // Any request to a model loads it.
    await this.json('tokenize', { model: id, prompt: '' }, signal);
    return new HttpModel(this, await this.json<LoadedModel>(`v1/models/${id}`));
  }

  async caches(): Promise<readonly ListedCache[]> {
    return (await this.json<{ data: ListedCache[] }>('caches')).data;
  }
}

export class HttpModel implements PageModel {
  readonly name: string;
  readonly about: string;
  readonly place: string;
  readonly layers: number;
  readonly isChat: boolean;
  readonly policies: readonly string[];
  readonly #server: Server;
  readonly #model: LoadedModel;

  constructor(server: Server, model: LoadedModel) {
    this.#server = server;
    this.#model = model;
    this.name = model.id;
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
  readonly #model: LoadedModel;
  readonly #cacheClass: string;
  readonly #watcher: Watcher;

  constructor(server: Server, model: LoadedModel, cacheClass: string, id: string, watcher: Watcher) {
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
      for await (const data of serverEvents(response.body!, signal)) {
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

/** The data of a stream's events. @throws Error where the stream ends without saying that it is complete. */
async function* serverEvents(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<string> {
  let rest = '';
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw signal.aborted ? cause : new Error(LOST, { cause });
    });
    if (done) throw new Error(LOST);
    const events = (rest + value).split('\n\n');
    rest = events.pop()!;
    for (const event of events)
      for (const line of event.split('\n')) {
        if (line === 'data: [DONE]') return;
        if (line.startsWith('data: ')) yield line.slice(6);
      }
  }
}
