/**
 * @file Which tokens may come next, as a bit for each.
 *
 * Nearly all tokens may stand within a string, and going through them takes milliseconds. So what a token does within
 * the term on top of a stack is kept by that term, whatever is below it; only tokens that end the term and go on are
 * looked at for each stack.
 */
import { FormatError } from '../util/errors.ts';
import type { Machine, Stack, State } from './machine.ts';
import type { Term, Terms } from './terms/terms.ts';
import type { TokenTrie } from './token-trie.ts';

/** A bit for each token of the vocabulary. */
export type TokenMask = Uint32Array;

interface TermMask {
  /** Tokens that stay within the term, or end it. */
  readonly mask: TokenMask;
  /** Nodes of the trie at which the term may end. */
  readonly ends: readonly number[];
}

/** Masks that are kept: 16 kB each with 128k tokens. */
const MAX_MASKS = 512;
const MAX_TERM_MASKS = 128;
/** A term that more bytes than this may follow is looked at by itself. */
const BROAD = 64;
/** Nodes of the trie that one mask may visit. */
const MAX_VISITS = 20_000_000;

export class Masks {
  readonly #machine: Machine;
  readonly #trie: TokenTrie;
  readonly #masks = new Map<State, TokenMask>();
  readonly #termMasks = new Map<Term, TermMask>();
  readonly #bounded = new Map<Term, Term>();
  readonly #broad = new Map<Term, boolean>();
  #visits = 0;

  constructor(machine: Machine, trie: TokenTrie) {
    this.#machine = machine;
    this.#trie = trie;
  }

  /** Tokens that may follow in a state. @throws FormatError where that takes too long to find out. */
  of(state: State): TokenMask {
    const known = this.#masks.get(state);
    if (known) {
      // The last one that was used is the last to go.
      this.#masks.delete(state);
      this.#masks.set(state, known);
      return known;
    }
    const mask = this.#make(state);
    if (this.#masks.size >= MAX_MASKS) this.#masks.delete(this.#masks.keys().next().value!);
    this.#masks.set(state, mask);
    return mask;
  }

  #make(state: State): TokenMask {
    this.#machine.startWork();
    this.#visits = 0;
    const mask = this.#blank();
    const narrow: Stack[] = [];
    for (const stack of state.stacks) {
      if (this.#isBroad(stack.item as Term)) this.#addStack(stack, mask);
      else narrow.push(stack);
    }
    if (narrow.length > 0) this.#walk(0, this.#machine.stateOf(narrow), mask);
    return mask;
  }

  #blank(): TokenMask {
    return new Uint32Array(Math.ceil(this.#trie.bytes.length / 32));
  }

  #addStack({ item, rest }: Stack, mask: TokenMask): void {
    const own = this.#termMask(item as Term);
    for (let i = 0; i < mask.length; i++) mask[i] |= own.mask[i];
    const state = this.#machine.closureState(rest!);
    for (const node of own.ends) this.#walk(node, state, mask);
  }

  /** Adds the tokens below a node that go on from a state. */
  #walk(node: number, start: State, mask: TokenMask): void {
    const machine = this.#machine;
    const { byte, depth, after, first, tokens } = this.#trie;
    const end = after[node];
    const base = depth[node];
    const states: State[] = [start];
    for (let at = node + 1; at < end; ) {
      const level = depth[at] - base;
      const state = states[level - 1];
      const byteClass = state.classes.of[byte[at]];
      let next = state.next[byteClass];
      if (next === undefined) next = machine.advance(state, byte[at]);
      if (++this.#visits > MAX_VISITS) throw tooComplex();
      if (next === null) {
        at = after[at];
        continue;
      }
      states[level] = next;
      for (let i = first[at]; i < first[at + 1]; i++) mask[tokens[i] >>> 5] |= 1 << (tokens[i] & 31);
      at++;
    }
  }

  #termMask(term: Term): TermMask {
    const bounded = this.#boundedTerm(term);
    const known = this.#termMasks.get(bounded);
    if (known) return known;
    const { terms } = this.#machine;
    const { byte, depth, after, first, tokens } = this.#trie;
    const mask = this.#blank();
    const ends: number[] = [];
    const states: Term[] = [bounded];
    for (let at = 1; at < byte.length; ) {
      const level = depth[at];
      const state = states[level - 1];
      const byteClass = state.classes.of[byte[at]];
      const next = state.next[byteClass] ?? terms.step(state, byteClass);
      if (next.kind === 'none') {
        at = after[at];
        continue;
      }
      states[level] = next;
      for (let i = first[at]; i < first[at + 1]; i++) mask[tokens[i] >>> 5] |= 1 << (tokens[i] & 31);
      if (next.nullable && after[at] > at + 1) ends.push(at);
      at++;
    }
    if (this.#termMasks.size >= MAX_TERM_MASKS) this.#termMasks.delete(this.#termMasks.keys().next().value!);
    const made = { mask, ends };
    this.#termMasks.set(bounded, made);
    return made;
  }

  #isBroad(term: Term): boolean {
    let broad = this.#broad.get(term);
    if (broad === undefined) {
      const { terms } = this.#machine;
      const { of } = term.classes;
      let live = 0;
      for (let byte = 0; byte < 256; byte++) if (terms.step(term, of[byte]).kind !== 'none') live++;
      broad = live > BROAD;
      this.#broad.set(term, broad);
    }
    return broad;
  }

  #boundedTerm(term: Term): Term {
    let bounded = this.#bounded.get(term);
    if (!bounded) {
      bounded = withinToken(this.#machine.terms, term, this.#trie.longest);
      this.#bounded.set(term, bounded);
    }
    return bounded;
  }
}

/**
 * A term that is the same for texts of no more bytes than a token may have: counts that no token can use up become
 * unbounded. So a string of at most 500 characters shares its masks with all others until its end is near.
 */
function withinToken(terms: Terms, term: Term, longest: number, depth = 0): Term {
  if (depth > longest) return term;
  switch (term.kind) {
    case 'repeat': {
      const min = Math.min(term.min, longest + 1);
      const max = term.max > longest ? Number.POSITIVE_INFINITY : term.max;
      return min === term.min && max === term.max ? term : terms.repeat(term.parts[0], min, max);
    }
    case 'concat':
      return terms.concat(...term.parts.map((part) => withinToken(terms, part, longest, depth + 1)));
    case 'or':
      return terms.or(...term.parts.map((part) => withinToken(terms, part, longest, depth + 1)));
  }
  // Below an intersection, what comes after the token may decide.
  return term;
}

function tooComplex(): FormatError {
  return new FormatError('the format is too complex: finding the tokens that may come next takes too long');
}
