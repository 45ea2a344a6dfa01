/**
 * @file The caches of a thread, by the numbers that the program gave them.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { PolicyChoice } from '../kvcache/policy/policy.ts';
import { policyOfModules } from '../kvcache/policy-modules.ts';
import { disposedError } from '../util/disposed.ts';
import type { CacheRef } from './protocol.ts';

/** Options of a request as they came, and with the cache that they name. */
type WithCache<T> = Omit<T, 'cache'> & { readonly cache?: KVCache | Partial<AnyCacheOptions> };

export class HostedCaches {
  /** A cache that could not be made is its error. */
  readonly #caches = new Map<number, KVCache | { readonly error: unknown }>();

  /** Keeps what is made under a number. @throws what `make` throws, now and when the cache is used. */
  async make({ cacheId }: CacheRef, make: () => KVCache | Promise<KVCache>): Promise<void> {
    try {
      this.#caches.set(cacheId, await make());
    } catch (error) {
      this.#caches.set(cacheId, { error });
      throw error;
    }
  }

  /** @throws InputError for a cache that was disposed of; the error of its options where it could not be made. */
  get({ cacheId }: CacheRef): KVCache {
    const cache = this.#caches.get(cacheId);
    if (!cache) throw disposedError('cache');
    if ('error' in cache) throw cache.error;
    return cache;
  }

  release({ cacheId }: CacheRef): void {
    const cache = this.#caches.get(cacheId);
    this.#caches.delete(cacheId);
    if (cache && !('error' in cache)) cache.dispose();
  }

  /** Options with the cache that they name, and with the policy of the module that they name. */
  async resolve<T extends { readonly cache?: CacheRef | Partial<AnyCacheOptions> }>(options: T): Promise<WithCache<T>> {
    const { cache } = options;
    if (!cache) return options as WithCache<T>;
    return { ...options, cache: 'cacheId' in cache ? this.get(cache as CacheRef) : await withPolicy(cache) };
  }
}

/** Cache options with the policy that their modules export. */
export async function withPolicy(options: Partial<AnyCacheOptions>): Promise<Partial<AnyCacheOptions>> {
  const { policyModule, ...rest } = options;
  return policyModule === undefined ? options : { ...rest, policy: await importPolicy(String(policyModule)) };
}

/** @throws InputError where a module can't be loaded, or its default export is no policy. */
export function importPolicy(name: string): Promise<PolicyChoice> {
  return policyOfModules(name, (module) => import(/* @vite-ignore */ module));
}
