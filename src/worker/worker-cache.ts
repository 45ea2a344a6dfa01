/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A cache that lives in the thread of its model, as the program holds it.
 */
import type { CacheMemory, CacheStats } from '../kvcache/inspect.ts';
import type { CacheRef } from './protocol.ts';
import type { Caller } from './rpc.ts';

/** Hand it in as `cache` where an option of that name is taken. All it knows is asked of the thread. */
export class WorkerCache {
  /** @internal */
  readonly ref: CacheRef;
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller, ref: CacheRef) {
    this.#caller = caller;
    this.ref = ref;
  }

  /** The tokens that it has seen. */
  tokens(): Promise<number[]> {
    return this.#call('tokens');
  }

  stats(): Promise<CacheStats> {
    return this.#call('stats');
  }

  memory(): Promise<CacheMemory> {
    return this.#call('memory');
  }

  /** Positions of the tokens that a layer holds, ascending. */
  tokenPositions(layer: number, group = 0): Promise<number[]> {
    return this.#caller.call<number[]>('tokenPositions', { cache: this.ref, layer, group }).done;
  }

  /** Goes back to its first `length` tokens. @throws InputError where that state can't be had back. */
  truncate(length: number): Promise<void> {
    return this.#caller.call<void>('truncateCache', { cache: this.ref, length }).done;
  }

  /** Forgets everything and gives the memory back. */
  clear(): Promise<void> {
    return this.#call('clearCache');
  }

  /** A cache with the same content, which goes on by itself. */
  async fork(): Promise<WorkerCache> {
    return new WorkerCache(this.#caller, await this.#call<CacheRef>('forkCache'));
  }

  /** Writes it to a file. @throws SnapshotError */
  save(path: string): Promise<void> {
    return this.#caller.call<void>('saveCache', { cache: this.ref, path }).done;
  }

  /** Gives its memory back; it can't be used afterwards. */
  dispose(): Promise<void> {
    return this.#call('releaseCache');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #call<T>(method: string): Promise<T> {
    return this.#caller.call<T>(method, this.ref).done;
  }
}
