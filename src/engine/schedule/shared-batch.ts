/**
 * @file The rows of one cache that take their steps together: sequences join and leave, and the first rows are always
 * those in use.
 *
 * A sequence that is alone takes its steps in its own cache. When a second one joins, both are copied into a shared
 * cache.
 */
import type { KVCache } from '../../kvcache/kv-cache.ts';
import type { CacheLease } from '../../kvcache/lease.ts';

/** A sequence that takes a row. */
export interface BatchMember {
  /** The cache of one row that it comes from. */
  readonly cache: KVCache;
  /** The lease of that cache. */
  readonly lease?: CacheLease | undefined;
  /** Its content is in a row of a shared cache now. */
  joined(): void;
}

/** Where a member is. */
export interface BatchRow {
  readonly cache: KVCache;
  readonly row: number;
  /** The lease of the cache; none: it is a shared one. */
  readonly lease?: CacheLease;
}

export class SharedBatch<T extends BatchMember> {
  /** Says which policy and options the rows have. */
  readonly #like: KVCache;
  /** null: the only member is in its own cache. */
  #shared: KVCache | null = null;
  readonly #rows: (T | null)[] = [];
  #joining: T[] = [];

  /** @param like a cache of the kind that members come with. */
  constructor(like: KVCache) {
    this.#like = like;
  }

  /**
   * Whether a cache has the same policy and options, so that a row of it fits here. One that tells its steps stays by
   * itself.
   */
  takes(cache: KVCache): boolean {
    return this.#like.fits(cache) && !cache.observed && !this.members.some((member) => member.cache.observed);
  }

  /** Members with a row, in the order of the rows, and those about to join. */
  get members(): readonly T[] {
    return [...this.#rows.filter((member) => member !== null), ...this.#joining];
  }

  /** Members: the index is the row of {@link cache}. Call {@link compact} before. */
  get rows(): readonly T[] {
    return this.#rows as T[];
  }

  /** The cache that a step runs on. Call {@link compact} before. */
  get cache(): KVCache {
    return this.#shared ?? this.#rows[0]?.cache ?? this.#like;
  }

  /** Where a member of {@link rows} is. */
  rowOf(row: number): BatchRow {
    return this.#shared ? { cache: this.#shared, row } : ownRow(this.#rows[row] as T);
  }

  /** Takes a row with the next {@link compact}. */
  join(member: T): void {
    this.#joining.push(member);
  }

  /** @returns the row that the member had; its own cache where it had none yet. */
  leave(member: T): BatchRow {
    const row = this.#rows.indexOf(member);
    if (row >= 0) this.#rows[row] = null;
    else this.#joining = this.#joining.filter((other) => other !== member);
    return row >= 0 && this.#shared ? { cache: this.#shared, row } : ownRow(member);
  }

  /** Gives a member its row back into its own cache. It takes one again once it is ready. */
  park(member: T): void {
    const { cache, row } = this.leave(member);
    if (cache !== member.cache) member.cache.copyRow(cache, row, 0, member.lease);
    this.join(member);
  }

  /**
   * Gives free rows to members that join, and closes the gaps that are left.
   * @param isReady those that join only once they take a step.
   */
  compact(isReady: (member: T) => boolean = () => true): void {
    const rows = this.#rows;
    const joining = this.#joining.filter(isReady);
    if (joining.length === 0 && rows.every((member) => member !== null)) return;
    this.#joining = this.#joining.filter((member) => !joining.includes(member));
    if (!this.#shared) {
      const members = [...rows.filter((member) => member !== null), ...joining];
      rows.length = 0;
      if (members.length > 1) {
        this.#shared = this.#like.recreate(members.length);
        for (const [row, member] of members.entries()) {
          this.#shared.copyRow(member.cache, 0, row);
          member.joined();
        }
      }
      rows.push(...members);
      return;
    }
    this.#compactShared(this.#shared, joining);
  }

  #compactShared(cache: KVCache, joining: readonly T[]): void {
    const rows = this.#rows;
    const gaps = rows.flatMap((member, row) => (member ? [] : [row]));
    const longer = rows.length + Math.max(0, joining.length - gaps.length);
    if (longer > cache.batch) cache.setBatch(longer);
    for (const member of joining) {
      const row = gaps.shift() ?? rows.length;
      cache.copyRow(member.cache, 0, row);
      member.joined();
      rows[row] = member;
    }
    for (const gap of gaps) {
      while (rows.length > gap && rows[rows.length - 1] === null) rows.pop();
      if (gap >= rows.length) break;
      cache.copyRow(cache, rows.length - 1, gap);
      rows[gap] = rows.pop()!;
    }
    cache.setBatch(Math.max(1, rows.length));
    cache.trim();
  }
}

/** A member in its own cache. */
export function ownRow({ cache, lease }: BatchMember): BatchRow {
  return { cache, row: 0, lease };
}
