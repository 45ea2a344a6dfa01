/**
 * @file The caches of conversations, by name: in memory while they are young, in a store afterwards.
 */
import type { TextCache } from '../engine/text-model.ts';
import { sessionBusy } from './http-error.ts';

/** Where caches are kept that have left the memory. Names are safe as names of files. */
export interface SessionStore {
  /** Replaces what was saved under the name, whole or not at all. */
  save(name: string, bytes: Uint8Array): Promise<void>;
  load(name: string): Promise<Uint8Array | null>;
}

/** How a cache becomes bytes, and comes back. */
export interface SessionCodec {
  snapshot(cache: TextCache): Promise<Uint8Array>;
  restore(bytes: Uint8Array): Promise<TextCache>;
}

/** Whose cache a session is, and its name for them. */
export interface SessionOwner {
  readonly key: string;
  readonly cacheClass: string;
  readonly id: string;
}

interface Session {
  readonly owner: SessionOwner;
  readonly cache: TextCache;
  busy: boolean;
  /** What the store does not have yet. */
  dirty: boolean;
}

export class Sessions {
  readonly #codec: SessionCodec;
  readonly #store: SessionStore | null;
  readonly #most: number;
  readonly #onLoss: (name: string, error: unknown) => void;
  /** The one that was used last is the last. */
  readonly #sessions = new Map<string, Session>();

  /**
   * @param most most caches in memory.
   * @param store null: caches beyond that are forgotten; their conversations are computed anew.
   * @param onLoss told of caches that could not be saved or restored: nothing is lost but time.
   */
  constructor(
    codec: SessionCodec,
    most: number,
    store: SessionStore | null,
    onLoss: (name: string, error: unknown) => void,
  ) {
    this.#codec = codec;
    this.#most = most;
    this.#store = store;
    this.#onLoss = onLoss;
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** The caches in memory, the one that was used last at the end. They may be read, not used. */
  list(): readonly { readonly owner: SessionOwner; readonly cache: TextCache; readonly busy: boolean }[] {
    return [...this.#sessions.values()];
  }

  /**
   * The cache of a session, for one request. It must be given back.
   * @throws HttpError 429 while another request has it.
   */
  async take(name: string, owner: SessionOwner, create: () => Promise<TextCache>): Promise<TextCache> {
    const known = this.#sessions.get(name);
    if (known?.busy) throw sessionBusy();
    if (known) {
      known.busy = true;
      return known.cache;
    }
    const cache = (await this.#restored(name)) ?? (await create());
    // Another request of the same session may have come while this one was restored.
    if (this.#sessions.has(name)) {
      await cache.dispose();
      return this.take(name, owner, create);
    }
    this.#sessions.set(name, { owner, cache, busy: true, dirty: false });
    return cache;
  }

  /** Ends a request's use of a session's cache. @param keep false: its state is not known any more. */
  async giveBack(name: string, keep: boolean): Promise<void> {
    const session = this.#sessions.get(name);
    if (!session) return;
    this.#sessions.delete(name);
    if (!keep) {
      await session.cache.dispose();
      return;
    }
    this.#sessions.set(name, { ...session, busy: false, dirty: true });
    for (const [other, { busy }] of this.#sessions) {
      if (this.#sessions.size <= this.#most) break;
      if (!busy) await this.#leave(other);
    }
  }

  /** Saves all that are not busy. */
  async saveAll(): Promise<void> {
    for (const [name, session] of this.#sessions) if (!session.busy) await this.#save(name, session);
  }

  async #restored(name: string): Promise<TextCache | null> {
    try {
      const bytes = await this.#store?.load(name);
      return bytes ? await this.#codec.restore(bytes) : null;
    } catch (error) {
      this.#onLoss(name, error);
      return null;
    }
  }

  async #leave(name: string): Promise<void> {
    const session = this.#sessions.get(name)!;
    this.#sessions.delete(name);
    await this.#save(name, session);
    await session.cache.dispose();
  }

  async #save(name: string, session: Session): Promise<void> {
    if (!this.#store || !session.dirty) return;
    try {
      await this.#store.save(name, await this.#codec.snapshot(session.cache));
      session.dirty = false;
    } catch (error) {
      this.#onLoss(name, error);
    }
  }
}
