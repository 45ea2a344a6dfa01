/**
 * @file Finding stop strings in text that comes in pieces.
 */
import { InputError } from '../../util/errors.ts';

/** A state of the automaton: the longest end of the text that may still become a stop string. */
interface State {
  /** Length of that end, in UTF-16 units. */
  readonly depth: number;
  readonly next: Map<number, State>;
  /** The state of the longest shorter end; null at the root. */
  fail: State | null;
  /** Length of the longest stop string that ends here; 0 for none. */
  match: number;
}

export interface StopMatch {
  /** Text that is certain to come before any stop string. */
  readonly emit: string;
  /** The stop string, once one was found. */
  readonly stopped?: string;
}

/**
 * Lets text through up to the first stop string, and holds back no more than what may still become one (Aho and
 * Corasick 1975). Of several stop strings the one that ends first counts, of those that end together the longest.
 */
export class StopMatcher {
  readonly #root: State;
  #state: State;
  #held = '';
  #stopped: string | undefined;

  /**
   * @param stops none means that all text passes.
   * @throws InputError for one that is empty or holds half a character.
   */
  constructor(stops: readonly string[]) {
    for (const stop of stops) {
      if (typeof stop !== 'string' || stop === '') throw new InputError('a stop string is empty');
      if (/\p{Surrogate}/u.test(stop))
        throw new InputError(`the stop string ${JSON.stringify(stop)} holds half of a surrogate pair; remove it`);
    }
    this.#root = buildAutomaton(stops);
    this.#state = this.#root;
  }

  /** The next piece of text; after a stop string nothing is let through. */
  push(text: string): StopMatch {
    if (this.#stopped !== undefined) return { emit: '', stopped: this.#stopped };
    const all = this.#held + text;
    for (let i = this.#held.length; i < all.length; i++) {
      this.#state = this.#step(all.charCodeAt(i));
      const { match } = this.#state;
      if (match === 0) continue;
      const start = i + 1 - match;
      this.#stopped = all.slice(start, i + 1);
      this.#held = '';
      return { emit: all.slice(0, start), stopped: this.#stopped };
    }
    const certain = all.length - this.#state.depth;
    this.#held = all.slice(certain);
    return { emit: all.slice(0, certain) };
  }

  /** No more text comes: gives what was held back, which did not become a stop string. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    this.#state = this.#root;
    return rest;
  }

  #step(unit: number): State {
    for (let state: State | null = this.#state; state; state = state.fail) {
      const next = state.next.get(unit);
      if (next) return next;
    }
    return this.#root;
  }
}

function buildAutomaton(stops: readonly string[]): State {
  const root: State = { depth: 0, next: new Map(), fail: null, match: 0 };
  for (const stop of stops) {
    let state = root;
    for (let i = 0; i < stop.length; i++) {
      const unit = stop.charCodeAt(i);
      let next = state.next.get(unit);
      if (!next) {
        next = { depth: i + 1, next: new Map(), fail: root, match: 0 };
        state.next.set(unit, next);
      }
      state = next;
    }
    state.match = stop.length;
  }
  // Breadth first: a state's fail is shallower than it, so it is complete when it is asked.
  const queue = [root];
  for (let at = 0; at < queue.length; at++) {
    const parent = queue[at];
    for (const [unit, state] of parent.next) {
      for (let end = parent.fail; end; end = end.fail) {
        const longer = end.next.get(unit);
        if (!longer) continue;
        state.fail = longer;
        break;
      }
      if (state.match === 0) state.match = state.fail!.match;
      queue.push(state);
    }
  }
  return root;
}
