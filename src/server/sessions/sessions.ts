/**
 * @file Caches of conversations: those of sessions, by name, and those of requests without one, which are found by
 * their tokens. The ones that were used last are in memory; those of sessions are in a store, too.
 */
import type { TextCache } from '../../engine/text-model.ts';
import { Serial } from '../../util/serial.ts';
import { sessionBusy } from '../http-error.ts';
import { NameLocks } from './name-locks.ts';

/** Where caches are kept that have left the memory. Names are safe as names of files. */
export interface SessionStore {
  /**
   * Replaces what was saved under the name, whole or not at all.
   * @param replaces the version that this server has seen last; null: nothing was saved; undefined: it is not known. A
   * store may refuse to replace another one.
   * @returns the new version; null: the store has no versions.
   */
  save(name: string, bytes: Uint8Array, replaces: string | null | undefined): Promise<string | null>;
  /** What was saved under a name; null: nothing. */
  load(name: string): Promise<Uint8Array | null>;
  /**
   * Changes with each save; null: nothing is saved. Without it, what other servers save in the same store is not seen.
   */
  version?(name: string): Promise<string | null>;
}

/** How a cache becomes bytes, and comes back. */
export interface SessionCodec {
  snapshot(cache: TextCache): Promise<Uint8Array>;
  /** @param cacheClass of the session. */
  restore(bytes: Uint8Array, cacheClass: string): Promise<TextCache>;
}

/** Whose cache a session is, and its name for them. */
export interface SessionOwner {
  readonly key: string;
  readonly cacheClass: string;
  readonly id: string;
}

export interface NamedSession {
  readonly name: string;
  readonly owner: SessionOwner;
  /** Whether a request waits while another one has the session. */
  readonly waits: boolean;
}

export type Unlock = () => void;

/** What a request needs a cache for. */
export interface CacheRequest {
  /** Caches of one space may go on from each other: they have the same owner, class and adapters. */
  readonly space: string;
  /** It is locked; null: the cache has no name. */
  readonly session: NamedSession | null;
  readonly prompt: readonly number[];
  readonly create: () => Promise<TextCache>;
}

/** A cache that one request has. It must be given back. */
export interface TakenCache {
  readonly cache: TextCache;
  /** @param keep false: its state is not known any more. */
  giveBack(keep: boolean): Promise<void>;
}

interface Entry {
  readonly space: string;
  readonly cache: TextCache;
  name: string | null;
  owner: SessionOwner | null;
  /** What it has computed, while no request has it. */
  tokens: readonly number[];
  /** Tokens of the prompt of its last request. */
  promptLength: number;
  bytes: number;
  /** It can't go back. */
  evicted: boolean;
  busy: boolean;
  /** What the store does not have yet. */
  dirty: boolean;
  /** Of what the store has; undefined: it could not be asked. */
  version: string | null | undefined;
  saving: Promise<void> | null;
}

/** A shorter beginning is not worth a copy. */
const MIN_SHARED = 16;
/** Tokens at the end of a prompt that the next one may write in another way, such as the beginning of an answer. */
const SLACK = 16;

export interface SessionOptions {
  /** Most caches in memory. */
  readonly most: number;
  /** Most bytes of all caches in memory that no request has. */
  readonly mostBytes: () => number;
  /** null: caches beyond these limits are forgotten; their conversations are computed anew. */
  readonly store: SessionStore | null;
  /** Told of caches that could not be saved or restored: nothing is lost but time. */
  readonly onLoss: (name: string, error: unknown) => void;
  /** Most milliseconds that a request waits for another one of its session. */
  readonly waitMs: number;
}

export class Sessions {
  readonly #codec: SessionCodec;
  readonly #options: SessionOptions;
  readonly #locks: NameLocks;
  /** The one that was used last is the last. */
  readonly #entries = new Set<Entry>();
  readonly #choices = new Serial();
  /** One for each cache that a request has: done when it is given back. */
  readonly #taken = new Set<Promise<void>>();
  /** One cache is saved at a time: a snapshot copies all of it. */
  readonly #saves = new Serial();

  constructor(codec: SessionCodec, options: SessionOptions) {
    this.#codec = codec;
    this.#options = options;
    this.#locks = new NameLocks(options.waitMs, sessionBusy);
  }

  /** Caches in memory. */
  get count(): number {
    return this.#entries.size;
  }

  /** Bytes of the caches that no request has. */
  get bytes(): number {
    let sum = 0;
    for (const { busy, bytes } of this.#entries) sum += busy ? 0 : bytes;
    return sum;
  }

  /** The caches of sessions in memory, the one that was used last at the end. They may be read, not used. */
  list(): readonly { readonly owner: SessionOwner; readonly cache: TextCache; readonly busy: boolean }[] {
    return [...this.#entries].flatMap(({ owner, cache, busy }) => (owner ? [{ owner, cache, busy }] : []));
  }

  /**
   * Waits until no other request has a session.
   * @returns what gives it back; null where it is busy and the request does not wait.
   * @throws HttpError 429 where it is busy for too long; the signal's reason.
   */
  async lock({ name, waits }: NamedSession, signal: AbortSignal): Promise<Unlock | null> {
    return !waits && this.#locks.isTaken(name) ? null : this.#locks.take(name, signal);
  }

  /**
   * A cache for one request: the one of its session, or the one that has computed most of the prompt, or a copy of it.
   * A cache that the prompt leaves before its last answer is copied, so that the other conversation stays.
   */
  async take(request: CacheRequest): Promise<TakenCache> {
    // Two requests must not choose the same cache.
    return this.#choices.run(async () => {
      const { own, version } = await this.#own(request);
      const entry = await this.#choose(request, own);
      entry.version = version;
      return this.#lend(entry);
    });
  }

  /** Waits for the requests that have a cache, and saves all. */
  async saveAll(): Promise<void> {
    await Promise.all(this.#taken);
    for (const entry of this.#entries) if (!entry.busy) await this.#save(entry);
  }

  /** The caches in memory are gone with their engine. */
  forgetAll(): void {
    this.#entries.clear();
  }

  /**
   * The cache of a session, from the memory, or from the store where that has a newer one; and the version of the
   * store.
   */
  async #own({ space, session }: CacheRequest): Promise<{ own: Entry | null; version: Entry['version'] }> {
    if (session === null) return { own: null, version: null };
    const { name, owner } = session;
    let own = [...this.#entries].find((entry) => entry.name === name) ?? null;
    await own?.saving;
    // It may have left meanwhile.
    if (own && !this.#entries.has(own)) own = null;
    if (own) own.busy = true;
    let version: Entry['version'];
    try {
      version = (await this.#options.store?.version?.(name)) ?? null;
      if (own && (version === null || version === own.version)) return { own, version };
      const cache = await this.#restored(session);
      if (!cache) return { own, version };
      if (own) await this.#drop(own);
      own = this.#add(space, cache);
      Object.assign(own, { name, owner });
      await this.#look(own);
      return { own, version };
    } catch (error) {
      this.#options.onLoss(name, error);
      return { own, version };
    }
  }

  /** @param own of the session; it is busy. */
  async #choose(request: CacheRequest, own: Entry | null): Promise<Entry> {
    const { prompt, space, session } = request;
    let best = own;
    for (const entry of this.#entries) {
      if (entry.busy || entry.space !== space) continue;
      const shared = usable(entry, prompt);
      if (shared >= MIN_SHARED && shared > (best ? usable(best, prompt) : 0)) best = entry;
    }
    const unname = () => {
      // What it holds may still serve another conversation.
      if (own) Object.assign(own, { busy: false, name: null, owner: null, dirty: false });
    };
    const name = (entry: Entry): Entry =>
      Object.assign(entry, { name: session?.name ?? null, owner: session?.owner ?? null, promptLength: prompt.length });
    if (best === null) return name(this.#add(space, await request.create()));
    const shared = usable(best, prompt);
    const goesOn = shared === best.tokens.length || (!best.evicted && shared >= best.promptLength - SLACK);
    const isFull = this.#entries.size >= this.#options.most;
    if (best === own && (goesOn || (shared < MIN_SHARED && isFull))) return name(best);
    if (goesOn && best.name === null && best !== own) {
      unname();
      best.busy = true;
      await best.saving;
      return name(best);
    }
    let cache: TextCache;
    if (shared < MIN_SHARED) cache = await request.create();
    else {
      const source = best;
      const wasBusy = source.busy;
      source.busy = true;
      await source.saving;
      try {
        cache = await source.cache.fork();
      } finally {
        source.busy = wasBusy;
      }
    }
    unname();
    return name(this.#add(space, cache));
  }

  #add(space: string, cache: TextCache): Entry {
    const entry: Entry = {
      space,
      cache,
      name: null,
      owner: null,
      tokens: [],
      promptLength: 0,
      bytes: 0,
      evicted: false,
      busy: true,
      dirty: false,
      version: null,
      saving: null,
    };
    this.#entries.add(entry);
    return entry;
  }

  #lend(entry: Entry): TakenCache {
    let returned!: () => void;
    const taken = new Promise<void>((resolve) => {
      returned = resolve;
    });
    this.#taken.add(taken);
    return {
      cache: entry.cache,
      giveBack: async (keep) => {
        try {
          await this.#takeBack(entry, keep);
        } finally {
          this.#taken.delete(taken);
          returned();
        }
      },
    };
  }

  async #takeBack(entry: Entry, keep: boolean): Promise<void> {
    try {
      if (keep) await this.#look(entry);
      else await this.#drop(entry);
    } catch (error) {
      // A cache that can't be read is of no use.
      this.#options.onLoss(entry.name ?? 'a cache without a session', error);
      this.#entries.delete(entry);
    } finally {
      entry.busy = false;
    }
    if (!this.#entries.delete(entry)) return;
    this.#entries.add(entry);
    entry.dirty = entry.name !== null;
    if (entry.dirty && this.#options.store) void this.#save(entry);
    await this.trim();
  }

  /** Reads what a cache has computed. */
  async #look(entry: Entry): Promise<void> {
    entry.bytes = (await entry.cache.memory()).total;
    entry.tokens = await entry.cache.tokens();
    entry.evicted = (await entry.cache.stats()).evicted.some((count) => count > 0);
  }

  /** The ones that were used least recently leave the memory. */
  async trim(): Promise<void> {
    for (const entry of [...this.#entries]) {
      if (this.#entries.size <= this.#options.most && this.bytes <= this.#options.mostBytes()) break;
      if (entry.busy) continue;
      entry.busy = true;
      await this.#save(entry);
      await this.#drop(entry);
    }
  }

  async #drop(entry: Entry): Promise<void> {
    this.#entries.delete(entry);
    await entry.cache.dispose();
  }

  async #restored({ name, owner }: NamedSession): Promise<TextCache | null> {
    const bytes = await this.#options.store?.load(name);
    return bytes ? this.#codec.restore(bytes, owner.cacheClass) : null;
  }

  #save(entry: Entry): Promise<void> {
    const { name } = entry;
    if (!this.#options.store || !entry.dirty || name === null) return entry.saving ?? Promise.resolve();
    entry.dirty = false;
    const saving = this.#saves
      .run(async () => {
        const bytes = await this.#codec.snapshot(entry.cache);
        entry.version = await this.#options.store!.save(name, bytes, entry.version);
      })
      .catch((error: unknown) => this.#options.onLoss(name, error))
      .finally(() => {
        if (entry.saving === saving) entry.saving = null;
      });
    entry.saving = saving;
    return saving;
  }
}

/** How many tokens of a prompt a cache need not compute. */
function usable({ tokens, evicted }: Entry, prompt: readonly number[]): number {
  let shared = 0;
  while (shared < tokens.length && shared < prompt.length && tokens[shared] === prompt[shared]) shared++;
  return evicted && shared < tokens.length ? 0 : shared;
}
