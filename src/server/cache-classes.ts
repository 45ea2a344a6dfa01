/**
 * @file The classes of caches that requests choose from.
 */
import type { TextModel } from '../engine/text-model.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { HttpError } from './http-error.ts';

/** A kind of cache that requests can choose by its name: a policy, a budget, a format. */
export interface CacheClass {
  /** What requests call it. */
  readonly name: string;
  /** Options of its caches, as `createCache` takes them. */
  readonly options: Partial<AnyCacheOptions>;
}

/** The classes of a model. */
export class CacheClasses {
  readonly #all: readonly CacheClass[];
  /** Most bytes of a cache, by its class. */
  readonly #limits = new Map<string, number>();

  /** @param all the first is the default. */
  constructor(all: readonly CacheClass[]) {
    this.#all = all;
  }

  /** @param name null: the default. @throws HttpError 400 for a name that there is not. */
  find(name: string | null): CacheClass {
    if (name === null) return this.#all[0];
    const found = this.#all.find((each) => each.name === name);
    if (found) return found;
    const names = this.#all.map((each) => each.name).join(', ');
    throw new HttpError(400, `there is no cache class "${name}"; there are ${names}`, { param: 'cache' });
  }

  /** Most bytes of keys and values of a cache of this class. */
  async limitOf({ name, options }: CacheClass, model: TextModel): Promise<number> {
    const known = this.#limits.get(name);
    if (known !== undefined) return known;
    const empty = await model.createCache(options);
    const { keysAndValuesLimit } = await empty.memory();
    await empty.dispose();
    this.#limits.set(name, keysAndValuesLimit);
    return keysAndValuesLimit;
  }
}
