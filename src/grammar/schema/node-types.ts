/**
 * @file What nodes know of each other.
 */
import type { Node } from '../machine.ts';
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
