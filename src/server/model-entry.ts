/**
 * @file The models of a server by their names: those that are in memory, and those that are loaded when a request needs
 * them.
 */

import { checkOptionsObject } from '../util/option-names.ts';
import type { CacheClass } from './cache-classes.ts';
import { HttpError } from './http-error.ts';
import type { ServedModel } from './served-model.ts';

/** The right of a request to use a model. While one is held, the model stays in memory. */
export interface ModelLease {
  /** The model, in memory. */
  readonly served: ServedModel;
  /** Gives the right back. A second call does nothing. */
  release(): void;
}

/** A model of a server, in memory or not. */
export interface ModelEntry {
  /** What clients call it: the field `model` of their requests. */
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  /** The classes of caches that requests choose from; the first is the default. */
  readonly cacheClasses: readonly CacheClass[];
  /** Names of its live adapters. */
  readonly adapters: readonly string[];
  /** Null: the model is not in memory. */
  readonly loaded: ServedModel | null;
  /** Whether requests with this key may use it. */
  allows(key: string): boolean;
  /** Loads the model where it is not in memory. @throws HttpError 503 where it can't be loaded. */
  acquire(): Promise<ModelLease>;
}

/** Options of an `OnDemandModel`. */
export interface OnDemandOptions {
  /** What clients call it: the field `model` of their requests. */
  readonly id: string;
  /** The classes of caches that requests choose from; the first is the default. */
  readonly cacheClasses: readonly CacheClass[];
  /** Names of its live adapters, which are listed before it is loaded. @default none */
  readonly adapters?: readonly string[];
  /** Loads the model. The server disposes of it when it leaves the memory. */
  readonly load: () => Promise<ServedModel>;
  /** Milliseconds without a request after which the model leaves the memory. @default it stays */
  readonly idleMs?: number;
  /** Whether requests with this key may use the model. @default all keys */
  readonly allows?: (key: string) => boolean;
  /** Told of a model that could not be loaded or ended. */
  readonly onFailure: (id: string, error: unknown) => void;
}

/** A model that is loaded by its first request, and leaves the memory after a time without any. */
export class OnDemandModel implements ModelEntry {
  readonly id: string;
  readonly created = Math.floor(Date.now() / 1000);
  readonly #options: OnDemandOptions;
  #served: ServedModel | null = null;
  /** What a request has to wait for: a load, or an end. */
  #change: Promise<void> | null = null;
  #leases = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @throws InputError for options that are missing. */
  constructor(options: OnDemandOptions) {
    checkOptionsObject('an OnDemandModel', options, ['id', 'cacheClasses', 'load', 'onFailure']);
    this.id = options.id;
    this.#options = options;
  }

  get cacheClasses(): readonly CacheClass[] {
    return this.#options.cacheClasses;
  }

  get adapters(): readonly string[] {
    return this.#options.adapters ?? [];
  }

  get loaded(): ServedModel | null {
    return this.#served;
  }

  allows(key: string): boolean {
    return this.#options.allows?.(key) ?? true;
  }

  async acquire(): Promise<ModelLease> {
    this.#leases++;
    clearTimeout(this.#timer);
    try {
      // An end may follow the load that this request waits for, where others release it meanwhile.
      while (this.#served === null || this.#change !== null) await (this.#change ?? this.load());
      return { served: this.#served, release: once(() => this.#release()) };
    } catch (error) {
      this.#release();
      this.#options.onFailure(this.id, error);
      // The message may hold paths of this machine.
      throw new HttpError(503, `the model ${this.id} could not be loaded; the log of the server says why`, {
        code: 'model_not_loaded',
        retryAfter: 30,
      });
    }
  }

  /** Loads the model before the first request. @throws what `load` of the options throws. */
  load(): Promise<void> {
    return this.#changing(async () => {
      this.#served = await this.#options.load();
      this.#endLater();
    });
  }

  /** Saves the sessions and ends the model. Requests that use it must have ended. */
  async dispose(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#change?.catch(() => {});
    await this.#end();
  }

  #release(): void {
    this.#leases--;
    this.#endLater();
  }

  #endLater(): void {
    const { idleMs } = this.#options;
    if (this.#leases > 0 || this.#served === null || idleMs === undefined) return;
    this.#timer = setTimeout(() => void this.#changing(() => this.#end()), idleMs);
    this.#timer.unref?.();
  }

  async #end(): Promise<void> {
    const served = this.#served;
    this.#served = null;
    try {
      await served?.sessions.saveAll();
      await served?.model.dispose();
    } catch (error) {
      this.#options.onFailure(this.id, error);
    }
  }

  #changing(change: () => Promise<void>): Promise<void> {
    const done = change().finally(() => {
      this.#change = null;
    });
    this.#change = done;
    return done;
  }
}

function once(call: () => void): () => void {
  let called = false;
  return () => {
    if (!called) call();
    called = true;
  };
}

/** A model, and one of its live adapters: NAME, or NAME:ADAPTER. */
export interface NamedModel {
  readonly entry: ModelEntry;
  /** Null: the model's default adapters. */
  readonly adapter: string | null;
}

/** The names that a key may use, one for each model and one for each of its adapters. */
export function* namesOf(entries: readonly ModelEntry[], key: string): Generator<NamedModel & { readonly id: string }> {
  for (const entry of entries) {
    if (!entry.allows(key)) continue;
    yield { id: entry.id, entry, adapter: null };
    for (const adapter of entry.adapters) yield { id: `${entry.id}:${adapter}`, entry, adapter };
  }
}

/**
 * @param none says why there is no name at all.
 * @throws HttpError 404 for a name that is not served, or not to this key.
 */
export function findNamed<T extends { readonly id: string }>(
  names: Iterable<T>,
  name: string,
  none = 'none is served',
): T {
  const all = [...names];
  const found = all.find(({ id }) => id === name);
  if (found) return found;
  const there = all.length === 0 ? none : `there are ${all.map(({ id }) => id).join(', ')}`;
  throw new HttpError(404, `there is no model "${name.slice(0, 200)}"; ${there}`, {
    code: 'model_not_found',
    param: 'model',
  });
}
