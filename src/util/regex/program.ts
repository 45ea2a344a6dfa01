/**
 * @file A pattern as a program for {@link Regex}.
 */
import type { CharSet } from './char-set.ts';
import { type Assertion, type Node, RegexError } from './syntax.ts';

export enum Op {
  /** One character of set `a`. */
  Char,
  /** Go on at `a`; where that fails, at `b`. */
  Split,
  Jump,
  /** As many characters of set `a` as there are; where the rest fails, fewer. */
  Loop,
  /** The same, but never fewer. */
  LoopAll,
  /** What is between here and `a` matches ahead, or not (`b`); go on at `a`. */
  Ahead,
  /** The same for a match that ends here. */
  Behind,
  /** What is between here and `a`, by its first match only. */
  Atomic,
  Assert,
  Match,
}

export interface Program {
  readonly ops: Uint8Array;
  readonly a: Int32Array;
  readonly b: Int32Array;
  readonly sets: readonly CharSet[];
  /** Longest match of a lookbehind by its op; it is tried from each start within it. */
  readonly reach: ReadonlyMap<number, number>;
  /** The number of a `Split` among all of them. */
  readonly splits: Int32Array;
}

export const ASSERTIONS: readonly Assertion[] = [
  'line-start',
  'line-end',
  'text-start',
  'text-end',
  'last-line-end',
  'word',
  'no-word',
];
const MAX_OPS = 20_000;
/** Parts that are compiled: repetitions of nothing make no instructions. */
const MAX_PARTS = 200_000;

/** @throws RegexError for a pattern that is too large. */
export function compile(node: Node): Program {
  const code = new Compiler();
  code.node(node);
  code.emit(Op.Match);
  return code.program();
}

class Compiler {
  readonly #ops: [Op, number, number][] = [];
  readonly #sets: CharSet[] = [];
  readonly #reach = new Map<number, number>();
  #parts = 0;

  program(): Program {
    let splits = 0;
    return {
      ops: Uint8Array.from(this.#ops, ([op]) => op),
      a: Int32Array.from(this.#ops, ([, a]) => a),
      b: Int32Array.from(this.#ops, ([, , b]) => b),
      sets: this.#sets,
      reach: this.#reach,
      splits: Int32Array.from(this.#ops, ([op]) => (op === Op.Split ? splits++ : -1)),
    };
  }

  emit(op: Op, a = 0, b = 0): number {
    if (this.#ops.length >= MAX_OPS) throw new RegexError('the pattern is too large');
    return this.#ops.push([op, a, b]) - 1;
  }

  #patch(at: number, field: 1 | 2, target = this.#ops.length): void {
    this.#ops[at][field] = target;
  }

  node(node: Node): void {
    if (++this.#parts > MAX_PARTS) throw new RegexError('the pattern is too large');
    switch (node.kind) {
      case 'set':
        this.emit(Op.Char, this.#setIndex(node.set));
        return;
      case 'sequence':
        for (const part of node.parts) this.node(part);
        return;
      case 'choice':
        this.#choice(node.parts);
        return;
      case 'repeat':
        this.#repeat(node);
        return;
      case 'assert':
        this.emit(Op.Assert, ASSERTIONS.indexOf(node.what));
        return;
      case 'atomic':
        this.#inner(Op.Atomic, node.part, 0);
        return;
      case 'look': {
        if (!node.behind) this.#inner(Op.Ahead, node.part, node.negated ? 1 : 0);
        else {
          // It is run on the text up to where it has to end.
          const toEnd: Node = { kind: 'sequence', parts: [node.part, { kind: 'assert', what: 'text-end' }] };
          this.#reach.set(this.#inner(Op.Behind, toEnd, node.negated ? 1 : 0), longest(node.part));
        }
      }
    }
  }

  #setIndex(set: CharSet): number {
    const known = this.#sets.indexOf(set);
    return known >= 0 ? known : this.#sets.push(set) - 1;
  }

  #inner(op: Op, part: Node, b: number): number {
    const at = this.emit(op, 0, b);
    this.node(part);
    this.emit(Op.Match);
    this.#patch(at, 1);
    return at;
  }

  #choice(parts: readonly Node[]): void {
    const ends: number[] = [];
    parts.forEach((part, i) => {
      const split = i < parts.length - 1 ? this.emit(Op.Split, this.#ops.length + 1) : null;
      this.node(part);
      if (split === null) return;
      ends.push(this.emit(Op.Jump));
      this.#patch(split, 2);
    });
    for (const end of ends) this.#patch(end, 1);
  }

  #repeat({ part, min, max, mode }: Node & { kind: 'repeat' }): void {
    if (mode === 'possessive' && !(part.kind === 'set' && max === Number.POSITIVE_INFINITY)) {
      this.#inner(Op.Atomic, { kind: 'repeat', part, min, max, mode: 'greedy' }, 0);
      return;
    }
    for (let i = 0; i < min; i++) this.node(part);
    const prefer = mode === 'lazy' ? 2 : 1;
    if (max === Number.POSITIVE_INFINITY) {
      if (part.kind === 'set' && mode !== 'lazy') {
        this.emit(mode === 'possessive' ? Op.LoopAll : Op.Loop, this.#setIndex(part.set));
        return;
      }
      const split = this.emit(Op.Split);
      this.#patch(split, prefer);
      this.node(part);
      this.emit(Op.Jump, split);
      this.#patch(split, prefer === 1 ? 2 : 1);
      return;
    }
    const splits: number[] = [];
    for (let i = min; i < max; i++) {
      const split = this.emit(Op.Split);
      this.#patch(split, prefer);
      splits.push(split);
      this.node(part);
    }
    for (const split of splits) this.#patch(split, prefer === 1 ? 2 : 1);
  }
}

/** Characters of the longest match; @throws RegexError where there is no limit. */
function longest(node: Node): number {
  switch (node.kind) {
    case 'set':
      return 1;
    case 'sequence':
      return node.parts.reduce((sum, part) => sum + longest(part), 0);
    case 'choice':
      return Math.max(...node.parts.map(longest));
    case 'repeat': {
      const length = longest(node.part);
      if (length > 0 && node.max === Number.POSITIVE_INFINITY)
        throw new RegexError('the pattern looks behind without a limit, which is not supported');
      return length === 0 ? 0 : length * node.max;
    }
    case 'atomic':
      return longest(node.part);
  }
  return 0;
}
