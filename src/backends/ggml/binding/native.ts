/**
 * @file What lies outside of JavaScript's memory and has to be given back: counted, and freed at the latest when its
 * owner is collected.
 */

/** Kinds of things that are open, with how many there are. */
const open = new Map<string, number>();

interface Held {
  readonly kind: string;
  readonly free: () => void;
}

const release = ({ kind, free }: Held): void => {
  open.set(kind, open.get(kind)! - 1);
  free();
};

/** The last resort for owners that were never disposed of. */
const registry = new FinalizationRegistry<Held>(release);

/** Something native. `dispose` may be called any number of times. */
export class NativeHandle {
  #held: Held | null;

  /** @param free must not refer to the handle or its owner, or neither is ever collected. */
  constructor(kind: string, free: () => void) {
    this.#held = { kind, free };
    open.set(kind, (open.get(kind) ?? 0) + 1);
    registry.register(this, this.#held, this);
  }

  dispose(): void {
    if (!this.#held) return;
    registry.unregister(this);
    const held = this.#held;
    this.#held = null;
    release(held);
  }
}

/** How many native things of each kind are open: for tests and reports. */
export function nativeCounts(): Readonly<Record<string, number>> {
  return Object.fromEntries([...open].filter(([, count]) => count > 0));
}
