/**
 * @file Regular languages of bytes as terms with derivatives (Brzozowski 1964): the derivative of a term by a byte is
 * what may follow that byte. Terms are interned, so a term is a state of a deterministic automaton that is made as far
 * as it is visited. With intersection and complement, schemas can be combined exactly; counted repetitions cost nothing
 * until they are visited.
 */
import { FormatError } from '../../util/errors.ts';
import { type ByteClasses, type ByteSet, ByteSets, hasByte } from './byte-set.ts';

export type TermKind = 'none' | 'empty' | 'set' | 'concat' | 'or' | 'and' | 'not' | 'repeat' | 'multiple';

export interface Term {
  readonly id: number;
  readonly kind: TermKind;
  /** Whether the empty text matches. */
  readonly nullable: boolean;
  readonly parts: readonly Term[];
  readonly set: ByteSet | null;
  /** Of a repetition: fewest and most. Of a multiple: divisor and remainder so far. */
  readonly min: number;
  readonly max: number;
  /** Bytes of a class have the same derivative. */
  readonly classes: ByteClasses;
  /** Derivatives by class, as far as they are known. @internal */
  readonly raw: (Term | undefined)[];
  readonly next: (Term | undefined)[];
  /** Whether some text matches; null: not known yet. */
  live: boolean | null;
}

/** Terms of one grammar. A schema is untrusted: beyond this it is refused. */
const MAX_TERMS = 400_000;
const MAX_PARTS = 4_000;
/** Parts of terms that questions whether anything matches may look at: of one question, and in all. */
const MAX_SEARCH = 1_000_000;
const MAX_SEARCHED = 5_000_000;

const NO_PARTS: readonly Term[] = [];

export class Terms {
  readonly sets = new ByteSets();
  readonly #terms = new Map<string, Term>();
  #searched = 0;
  #work = 0;
  /** Matches nothing. */
  readonly none = this.#make('none', NO_PARTS);
  /** Matches the empty text. */
  readonly empty = this.#make('empty', NO_PARTS);
  readonly all = this.not(this.none);

  set(set: ByteSet): Term {
    return set.bits.every((word) => word === 0) ? this.none : this.#make('set', NO_PARTS, set);
  }

  bytes(...ranges: readonly number[]): Term {
    return this.set(this.sets.ranges(...ranges));
  }

  /** A text as UTF-8. */
  text(text: string): Term {
    const bytes = new TextEncoder().encode(text);
    let term = this.empty;
    for (let i = bytes.length - 1; i >= 0; i--) term = this.concat(this.bytes(bytes[i], bytes[i]), term);
    return term;
  }

  /**
   * One of many texts: common beginnings are shared, so that a derivative costs the same for one text as for thousands.
   */
  texts(texts: readonly string[]): Term {
    const encoder = new TextEncoder();
    const compare = (a: Uint8Array, b: Uint8Array) => {
      for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
      return a.length - b.length;
    };
    const sorted = texts.map((text) => encoder.encode(text)).sort(compare);
    const build = (from: number, to: number, depth: number): Term => {
      const branches: Term[] = [];
      let at = from;
      while (at < to && sorted[at].length === depth) at++;
      if (at > from) branches.push(this.empty);
      while (at < to) {
        let end = at + 1;
        while (end < to && sorted[end][depth] === sorted[at][depth]) end++;
        // What all of the group share is written in one go, so that the depth of the recursion is that of branches.
        let shared = depth + 1;
        const [first, last] = [sorted[at], sorted[end - 1]];
        while (shared < first.length && first[shared] === last[shared]) shared++;
        let term = build(at, end, shared);
        for (let i = shared - 1; i >= depth; i--) term = this.concat(this.bytes(first[i], first[i]), term);
        branches.push(term);
        at = end;
      }
      return this.or(...branches);
    };
    return build(0, sorted.length, 0);
  }

  concat(...parts: readonly Term[]): Term {
    return parts.reduceRight((rest, part) => this.#concat(part, rest), this.empty);
  }

  #concat(first: Term, rest: Term): Term {
    if (first.kind === 'none' || rest.kind === 'none') return this.none;
    if (first.kind === 'empty') return rest;
    if (rest.kind === 'empty') return first;
    if (first.kind !== 'concat') return this.#make('concat', [first, rest]);
    // Right-leaning, so that equal texts are equal terms.
    const stack: Term[] = [];
    let head = first;
    for (; head.kind === 'concat'; head = head.parts[1]) stack.push(head.parts[0]);
    let term = this.#make('concat', [head, rest]);
    for (let part = stack.pop(); part; part = stack.pop()) term = this.#make('concat', [part, term]);
    return term;
  }

  or(...terms: readonly Term[]): Term {
    const parts = new Set<Term>();
    let set: ByteSet | null = null;
    for (const term of terms.flatMap((term) => (term.kind === 'or' ? term.parts : [term]))) {
      if (term === this.all) return term;
      if (term.kind === 'set') set = set ? this.sets.union(set, term.set!) : term.set;
      else if (term.kind !== 'none') parts.add(term);
    }
    if (set) parts.add(this.set(set));
    if (parts.has(this.empty) && [...parts].some((part) => part.nullable && part !== this.empty))
      parts.delete(this.empty);
    return this.#joined('or', parts, this.none);
  }

  and(...terms: readonly Term[]): Term {
    const parts = new Set<Term>();
    let set: ByteSet | null = null;
    for (const term of terms.flatMap((term) => (term.kind === 'and' ? term.parts : [term]))) {
      if (term.kind === 'none') return term;
      if (term.kind === 'set') set = set ? this.sets.intersection(set, term.set!) : term.set;
      else if (term !== this.all) parts.add(term);
    }
    if (set) parts.add(this.set(set));
    if (parts.has(this.empty)) return [...parts].every((part) => part.nullable) ? this.empty : this.none;
    if (parts.has(this.none)) return this.none;
    return this.#joined('and', parts, this.all);
  }

  #joined(kind: 'or' | 'and', parts: ReadonlySet<Term>, neutral: Term): Term {
    if (parts.size === 0) return neutral;
    if (parts.size === 1) return parts.values().next().value!;
    if (parts.size > MAX_PARTS) throw new FormatError('the format is too complex: a pattern has too many alternatives');
    return this.#make(
      kind,
      [...parts].sort((a, b) => a.id - b.id),
    );
  }

  not(term: Term): Term {
    return term.kind === 'not' ? term.parts[0] : this.#make('not', [term]);
  }

  repeat(term: Term, min = 0, max = Number.POSITIVE_INFINITY): Term {
    if (max === 0 || term.kind === 'empty') return this.empty;
    if (term.kind === 'none') return min === 0 ? this.empty : term;
    if (min === 1 && max === 1) return term;
    const least = term.nullable ? 0 : min;
    if (term.kind === 'repeat' && term.min === 0 && term.max === Number.POSITIVE_INFINITY) return term;
    return this.#make('repeat', [term], null, least, max);
  }

  optional(term: Term): Term {
    return this.or(this.empty, term);
  }

  /** Decimal digits whose number is a multiple of the divisor. */
  multiple(divisor: number, remainder = 0): Term {
    return this.#make('multiple', NO_PARTS, null, divisor, remainder);
  }

  /** What may follow a byte of a class; `none` where nothing matches any more. */
  step(term: Term, byteClass: number): Term {
    let next = term.next[byteClass];
    if (!next) {
      next = this.prune(this.#derive(term, byteClass));
      term.next[byteClass] = next;
    }
    return next;
  }

  stepByte(term: Term, byte: number): Term {
    return this.step(term, term.classes.of[byte]);
  }

  /** Whether all of a text matches. */
  matches(term: Term, text: string): boolean {
    let state = term;
    for (const byte of new TextEncoder().encode(text)) {
      state = this.stepByte(state, byte);
      if (state.kind === 'none') return false;
    }
    return state.nullable;
  }

  /** The term, or `none` where no text matches. */
  prune(term: Term): Term {
    return this.isEmpty(term) ? this.none : term;
  }

  /** Whether no text matches. @throws FormatError where that takes too long to find out. */
  isEmpty(term: Term): boolean {
    if (term.live === null) this.#search(term);
    return !term.live;
  }

  /** Breadth first, to the nearest state in which a text may end. */
  #search(start: Term): void {
    const from = new Map<Term, Term | null>([[start, null]]);
    const queue = [start];
    const before = this.#work;
    for (let at = 0; at < queue.length; at++) {
      const term = queue[at];
      if (term.live) {
        for (let back: Term | null = term; back; back = from.get(back)!) back.live = true;
        this.#searched += this.#work - before;
        return;
      }
      if (this.#work - before > MAX_SEARCH || this.#searched > MAX_SEARCHED)
        throw new FormatError('the format is too complex: its patterns and limits together take too long to check');
      for (let byteClass = 0; byteClass < term.classes.bytes.length; byteClass++) {
        const next = this.#derive(term, byteClass);
        if (next.live === false || from.has(next)) continue;
        from.set(next, term);
        queue.push(next);
      }
    }
    for (const term of queue) term.live = false;
    this.#searched += this.#work - before;
  }

  /** The derivative; what is below an intersection or a complement need not match anything. */
  #derive(term: Term, byteClass: number): Term {
    let derived = term.raw[byteClass];
    if (!derived) {
      derived = this.#derivative(term, term.classes.bytes[byteClass]);
      term.raw[byteClass] = derived;
    }
    return derived;
  }

  #deriveByte(term: Term, byte: number): Term {
    return this.#derive(term, term.classes.of[byte]);
  }

  #derivative(term: Term, byte: number): Term {
    const { parts } = term;
    switch (term.kind) {
      case 'set':
        return hasByte(term.set!, byte) ? this.empty : this.none;
      case 'concat': {
        const [first, rest] = parts;
        const on = this.#concat(this.prune(this.#deriveByte(first, byte)), rest);
        return first.nullable ? this.or(on, this.prune(this.#deriveByte(rest, byte))) : on;
      }
      case 'or':
        return this.or(...parts.map((part) => this.prune(this.#deriveByte(part, byte))));
      case 'and':
        return this.and(...parts.map((part) => this.#deriveByte(part, byte)));
      case 'not':
        return this.not(this.#deriveByte(parts[0], byte));
      case 'repeat': {
        const on = this.prune(this.#deriveByte(parts[0], byte));
        return this.#concat(on, this.repeat(parts[0], Math.max(0, term.min - 1), term.max - 1));
      }
      case 'multiple':
        return byte >= 48 && byte <= 57 ? this.multiple(term.min, (term.max * 10 + byte - 48) % term.min) : this.none;
    }
    return this.none;
  }

  #make(kind: TermKind, parts: readonly Term[], set: ByteSet | null = null, min = 0, max = 0): Term {
    this.#work += 1 + parts.length;
    const key = `${kind}:${parts.map(({ id }) => id).join()}:${set?.id ?? ''}:${min}:${max}`;
    const known = this.#terms.get(key);
    if (known) return known;
    if (this.#terms.size >= MAX_TERMS)
      throw new FormatError('the format is too complex: its patterns and limits take too much memory');
    const nullable = isNullable(kind, parts, min, max);
    const term: Term = {
      id: this.#terms.size,
      kind,
      nullable,
      parts,
      set,
      min,
      max,
      classes: this.#classes(kind, parts, set),
      raw: [],
      next: [],
      live: nullable ? true : isLive(kind, parts),
    };
    this.#terms.set(key, term);
    return term;
  }

  #classes(kind: TermKind, parts: readonly Term[], set: ByteSet | null): ByteClasses {
    if (kind === 'set') return set!.classes;
    if (kind === 'multiple') return this.#digits();
    if (kind === 'concat' && !parts[0].nullable) return parts[0].classes;
    return parts.reduce((sofar, part) => this.sets.refine(sofar, part.classes), this.sets.whole);
  }

  #digits(): ByteClasses {
    return Array.from({ length: 10 }, (_, digit) => this.sets.ranges(48 + digit, 48 + digit).classes).reduce((a, b) =>
      this.sets.refine(a, b),
    );
  }
}

function isNullable(kind: TermKind, parts: readonly Term[], min: number, max: number): boolean {
  switch (kind) {
    case 'empty':
      return true;
    case 'concat':
    case 'and':
      return parts.every((part) => part.nullable);
    case 'or':
      return parts.some((part) => part.nullable);
    case 'not':
      return !parts[0].nullable;
    case 'repeat':
      return min === 0;
    case 'multiple':
      return max === 0;
  }
  return false;
}

/** Whether some text matches, as far as the parts tell. */
function isLive(kind: TermKind, parts: readonly Term[]): boolean | null {
  switch (kind) {
    case 'none':
      return false;
    case 'and':
    case 'not':
      return null;
    case 'concat':
      return parts.some(({ live }) => live === false) ? false : parts.every(({ live }) => live) ? true : null;
    case 'or':
      return parts.some(({ live }) => live) ? true : parts.every(({ live }) => live === false) ? false : null;
    case 'repeat':
      return parts[0].live;
  }
  return true;
}
