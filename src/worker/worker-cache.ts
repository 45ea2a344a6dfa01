/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A cache in the thread of its model, as the program holds it.
 */
import type { TextCache } from '../engine/text-model.ts';
import type { CacheContents, CacheMemory, CacheStats } from '../kvcache/inspect.ts';
import type { StepListener } from '../kvcache/rows/events.ts';
import { InputError } from '../util/errors.ts';
import { refuseRetired } from '../util/retired.ts';
import type { CacheRef } from './protocol.ts';
import type { Caller, CallOptions } from './rpc.ts';

/** Give it as `cache` where an option of that name is taken. Its methods ask the thread. */
export class WorkerCache implements TextCache {
  /** @internal */
  readonly ref: CacheRef;
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller, ref: CacheRef = { cacheId: caller.newId() }) {
    this.#caller = caller;
    this.ref = ref;
  }

  /** As {@link ref}, for the model that the cache belongs to. @throws InputError for another model. @internal */
  refFor(caller: Caller): CacheRef {
    if (caller !== this.#caller)
      throw new InputError('this cache belongs to another model: use it with the model that made it');
    return this.ref;
  }

  tokens(row = 0): Promise<number[]> {
    return this.#call('tokens', { row });
  }

  pending(row = 0): Promise<readonly number[]> {
    return this.#call('pending', { row });
  }

  stats(): Promise<CacheStats> {
    return this.#call('stats');
  }

  memory(): Promise<CacheMemory> {
    return this.#call('memory');
  }

  tokenPositions(layer: number, row = 0, group = 0): Promise<number[]> {
    return this.#call('tokenPositions', { layer, row, group });
  }

  contents(row = 0): Promise<CacheContents> {
    return this.#call('contents', { row });
  }

  /** The policy's scores of the same tokens, in that order; null where it has none. */
  scores(layer: number, row = 0, group = 0): Promise<number[] | null> {
    return this.#call('scores', { layer, row, group });
  }

  /** Goes back to its first `length` tokens. @throws InputError where that state is not known any more. */
  truncate(length: number): Promise<void> {
    return this.#call('truncateCache', { length });
  }

  /** Forgets everything and gives the memory back. */
  clear(): Promise<void> {
    return this.#call('clearCache');
  }

  /** A cache with the same content, which goes on by itself. */
  async fork(): Promise<WorkerCache> {
    const fork = new WorkerCache(this.#caller);
    await this.#caller.call('forkCache', { cache: fork.ref, from: this.ref }).done;
    return fork;
  }

  /** Calls a function after each step. A cache that is listened to takes its steps alone. */
  on(event: 'step', listener: StepListener): () => void {
    if (event !== 'step') throw new InputError(`a cache has no event "${event}"; there is "step"`);
    const options = { onEvent: listener, background: true } as CallOptions;
    const call = this.#caller.call('watchCache', { cache: this.ref }, options);
    return () => call.abort();
  }

  /** @deprecated `saveCache(model, cache, path)` */
  save(): never {
    return refuseRetired('cache.save(path)', 'saveCache(model, cache, path)');
  }

  /** Gives its memory back; it can't be used afterwards. */
  dispose(): Promise<void> {
    return this.#call('releaseCache');
  }

  /** @deprecated {@link dispose} */
  release(): never {
    return refuseRetired('release()', 'dispose()');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #call<T>(method: string, args: object = {}): Promise<T> {
    return this.#caller.call<T>(method, { cache: this.ref, ...args }).done;
  }
}
