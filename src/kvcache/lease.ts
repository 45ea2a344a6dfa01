/**
 * @file A cache belongs to one run at a time: what others would mix up is refused.
 */
import { disposedError } from '../util/disposed.ts';
import { CacheBusyError } from '../util/errors.ts';

/** The right to change a cache. */
export interface CacheLease {
  /** What has it: `a run`, `a conversation`, … */
  readonly user: string;
  /** Gives it back. May be called more than once. */
  release(): void;
}

export class CacheGuard {
  #lease: CacheLease | null = null;
  /** Frees the memory; null: the cache was not disposed of. */
  #free: (() => void) | null = null;

  get user(): string | null {
    return this.#lease?.user ?? null;
  }

  /** @throws CacheBusyError while another run has the cache. */
  acquire(user: string): CacheLease {
    this.check(user);
    const lease: CacheLease = {
      user,
      release: () => {
        if (this.#lease !== lease) return;
        this.#lease = null;
        this.#free?.();
      },
    };
    this.#lease = lease;
    return lease;
  }

  /** Refuses all changes from now on, and frees the memory: at once, or when the run that has the cache ends. */
  dispose(free: () => void): void {
    this.#free = free;
    if (!this.#lease) free();
  }

  /**
   * @throws CacheBusyError while a run has the cache whose lease this is not; InputError where the cache was disposed
   * of.
   */
  check(what: string, lease?: CacheLease): void {
    if (this.#free) throw disposedError('cache');
    if (!this.#lease || this.#lease === lease) return;
    throw new CacheBusyError(
      `the cache is in use by ${this.#lease.user}: ${what} has to wait until that ends; fork the cache to go on from what it holds now`,
    );
  }
}
