/**
 * @file A pushdown automaton over bytes. A stack says what has still to come: terms, and nodes that stand for
 * alternatives of them. A state is a set of stacks, each with a term on top. Stacks and states are immutable and
 * interned, and made as far as they are visited.
 */
import { FormatError } from '../util/errors.ts';
import type { ByteClasses } from './terms/byte-set.ts';
import type { Term, Terms } from './terms/terms.ts';

/** What a stack may hold. */
export type Item = Term | Node;

/** Stands for one of several sequences of items. */
export interface Node {
  /** Unique among the nodes of a grammar. */
  readonly id: number;
  alternatives(): readonly (readonly Item[])[];
}

export interface Stack {
  readonly id: number;
  readonly item: Item | null;
  readonly rest: Stack | null;
  /** What its nodes come to, once asked for. */
  closure: Closure | null;
}

interface Closure {
  readonly stacks: readonly Stack[];
  /** Whether nothing more has to come. */
  readonly complete: boolean;
}

export interface State {
  readonly stacks: readonly Stack[];
  /** Whether the text may end here. */
  readonly complete: boolean;
  readonly classes: ByteClasses;
  /** By class; null: no text goes on that way. */
  readonly next: (State | null | undefined)[];
}

/** States that are kept; beyond it all are forgotten, and made again where they are visited. */
const MAX_STATES = 50_000;
const MAX_CLOSURE = 20_000;
/** Steps of stacks that one mask may take. */
const MAX_WORK = 4_000_000;

export class Machine {
  readonly terms: Terms;
  readonly start: State;
  readonly #bottom: Stack = { id: 0, item: null, rest: null, closure: { stacks: [], complete: true } };
  readonly #stacks = new Map<number, Stack>();
  readonly #states = new Map<string, State>();
  #stackCount = 1;
  #work = 0;

  constructor(terms: Terms, root: Item) {
    this.terms = terms;
    this.start = this.closureState(this.#push(root, this.#bottom));
  }

  /** The state after a byte; null where no text goes on so. */
  advance(state: State, byte: number): State | null {
    const byteClass = state.classes.of[byte];
    const known = state.next[byteClass];
    return known === undefined ? this.#advance(state, byteClass) : known;
  }

  /** The state after some bytes. */
  run(state: State, bytes: Uint8Array): State | null {
    let at: State | null = state;
    for (let i = 0; i < bytes.length && at; i++) at = this.advance(at, bytes[i]);
    return at;
  }

  /** Some stacks of a state as a state. */
  stateOf(stacks: readonly Stack[]): State {
    return this.#state(new Set(stacks), false);
  }

  /** The state of what a stack's nodes come to. */
  closureState(stack: Stack): State {
    const { stacks, complete } = this.#closureOf(stack);
    return this.#state(new Set(stacks), complete);
  }

  /** Begins to count the work of a mask. */
  startWork(): void {
    this.#work = 0;
  }

  #advance(state: State, byteClass: number): State | null {
    const byte = state.classes.bytes[byteClass];
    const stacks = new Set<Stack>();
    let complete = false;
    this.#work += state.stacks.length;
    if (this.#work > MAX_WORK)
      throw new FormatError('the format is too complex: too many of its alternatives begin in the same way');
    for (const { item, rest } of state.stacks) {
      const term = this.terms.stepByte(item as Term, byte);
      if (term.kind === 'none') continue;
      if (term.kind !== 'empty') stacks.add(this.#push(term, rest!));
      if (!term.nullable) continue;
      const closure = this.#closureOf(rest!);
      for (const stack of closure.stacks) stacks.add(stack);
      complete ||= closure.complete;
    }
    const next = stacks.size > 0 || complete ? this.#state(stacks, complete) : null;
    state.next[byteClass] = next;
    return next;
  }

  #closureOf(stack: Stack): Closure {
    if (stack.closure) return stack.closure;
    const stacks = new Set<Stack>();
    const seen = new Set<Stack>([stack]);
    let complete = false;
    for (const at of seen) {
      if (seen.size > MAX_CLOSURE)
        throw new FormatError('the format is too complex: too many of its alternatives begin together');
      const { item, rest } = at;
      if (item === null) complete = true;
      else if ('alternatives' in item) {
        for (const items of item.alternatives()) {
          let top = rest!;
          for (let i = items.length - 1; i >= 0; i--) top = this.#push(items[i], top);
          seen.add(top);
        }
      } else {
        if (item.kind !== 'empty' && item.kind !== 'none') stacks.add(at);
        if (item.nullable) seen.add(rest!);
      }
    }
    stack.closure = { stacks: [...stacks], complete };
    return stack.closure;
  }

  #push(item: Item, rest: Stack): Stack {
    const key = rest.id * 2 ** 22 + item.id * 2 + ('alternatives' in item ? 1 : 0);
    let stack = this.#stacks.get(key);
    if (!stack) {
      stack = { id: this.#stackCount++, item, rest, closure: null };
      this.#stacks.set(key, stack);
    }
    return stack;
  }

  #state(stacks: ReadonlySet<Stack>, complete: boolean): State {
    const sorted = [...stacks].sort((a, b) => a.id - b.id);
    const key = `${complete}:${sorted.map(({ id }) => id).join()}`;
    let state = this.#states.get(key);
    if (!state) {
      if (this.#states.size >= MAX_STATES) {
        this.#states.clear();
        this.#stacks.clear();
      }
      const { sets } = this.terms;
      const classes = sorted.reduce((sofar, { item }) => sets.refine(sofar, (item as Term).classes), sets.whole);
      state = { stacks: sorted, complete, classes, next: [] };
      this.#states.set(key, state);
    }
    return state;
  }
}
