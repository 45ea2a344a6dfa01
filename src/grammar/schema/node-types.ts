/**
 * @file What nodes know of each other.
 */
import type { Item, Node } from '../machine.ts';
import type { Term } from '../terms/terms.ts';
import type { Goal } from './form.ts';
import type { Forms } from './forms.ts';

/** Terms between values. */
export interface Separators {
  readonly comma: Term;
  readonly colon: Term;
  /** After an opening bracket, and before a closing one. */
  readonly inside: Term;
}

/** The node of a value. */
export interface Value extends Node {
  /** Whether any value is one. */
  readonly productive: boolean;
}

/** Makes nodes. */
export interface NodeSource {
  readonly forms: Forms;
  readonly separators: Separators;
  nextId(): number;
  value(goal: Goal): Value;
}

/** A node whose alternatives are made when they are first asked for. */
export abstract class LazyNode implements Node {
  readonly id: number;
  #alternatives: readonly (readonly Item[])[] | null = null;

  constructor(nodes: NodeSource) {
    this.id = nodes.nextId();
  }

  alternatives(): readonly (readonly Item[])[] {
    this.#alternatives ??= this.make();
    return this.#alternatives;
  }

  protected abstract make(): readonly (readonly Item[])[];
}

/**
 * The node of what may follow in a state, made when it is first asked for.
 * @param state a number that no other state has.
 */
export function restIn<R>(rests: Map<number, R>, state: number, make: () => R): R {
  const known = rests.get(state);
  if (known !== undefined) return known;
  const made = make();
  rests.set(state, made);
  return made;
}
