/**
 * @file Patterns as terms of all texts in which they match.
 */
import { FormatError } from '../../util/errors.ts';
import { ALL_CODES, type Characters } from './characters.ts';
import { type PatternNode, parsePattern } from './pattern-syntax.ts';
import type { Term } from './terms.ts';

/**
 * The texts in which a pattern matches somewhere, as JSON Schema has it.
 * @throws FormatError for what is no pattern, and for what can't be enforced.
 */
export function searchTerm(source: string, characters: Characters): Term {
  const { terms } = characters;
  const any = characters.of(ALL_CODES);
  const node = parsePattern(source);
  const end = terms.repeat(any);
  const build = new Builder(characters, source);
  const atStart = build.term(node, end, true);
  if (!build.usesStart || !alwaysAtStart(node)) {
    const later = build.term(node, end, false);
    return terms.or(atStart, terms.concat(terms.repeat(any, 1), later));
  }
  return atStart;
}

/** The texts that a pattern matches as a whole. @throws FormatError as {@link searchTerm}. */
export function wholeTerm(source: string, characters: Characters): Term {
  return new Builder(characters, source).term(parsePattern(source), characters.terms.empty, true);
}

/** Goes from the end to the beginning: what follows is known, so that assertions on it are intersections. */
class Builder {
  usesStart = false;
  readonly #characters: Characters;
  readonly #source: string;

  constructor(characters: Characters, source: string) {
    this.#characters = characters;
    this.#source = source;
  }

  /**
   * @param rest what comes behind the node.
   * @param isStart whether nothing is before it.
   */
  term(node: PatternNode, rest: Term, isStart: boolean): Term {
    const { terms } = this.#characters;
    switch (node.kind) {
      case 'set':
        return terms.concat(this.#characters.of(node.ranges), rest);
      case 'choice':
        return terms.or(...node.parts.map((part) => this.term(part, rest, isStart)));
      case 'sequence':
        return this.#sequence(node.parts, rest, isStart);
      case 'repeat':
        return this.#repeat(node, rest, isStart);
      case 'start':
        this.usesStart = true;
        return isStart ? rest : terms.none;
      case 'end':
        return rest.nullable ? terms.empty : terms.none;
      case 'look': {
        const ahead = this.term(node.part, terms.repeat(this.#characters.of(ALL_CODES)), isStart);
        return terms.and(node.negated ? terms.not(ahead) : ahead, rest);
      }
    }
  }

  #sequence(parts: readonly PatternNode[], rest: Term, isStart: boolean): Term {
    const starts: boolean[] = [];
    let open = isStart;
    for (const [i, part] of parts.entries()) {
      starts.push(open);
      if (!open || isZeroWidth(part)) continue;
      open = false;
      if (mayBeEmpty(part) && parts.slice(i + 1).some(hasStart))
        throw new FormatError(
          `the pattern ${JSON.stringify(this.#source)} has a ^ behind something that may be empty, which is not supported`,
        );
    }
    let term = rest;
    for (let i = parts.length - 1; i >= 0; i--) term = this.term(parts[i], term, starts[i]);
    return term;
  }

  #repeat({ part, min, max }: PatternNode & { kind: 'repeat' }, rest: Term, isStart: boolean): Term {
    const { terms } = this.#characters;
    if (min === 1 && max === 1) return this.term(part, rest, isStart);
    if (max === 0) return rest;
    if (!hasAssertion(part)) return terms.concat(terms.repeat(this.term(part, terms.empty, false), min, max), rest);
    if (min === 0 && max === 1) return terms.or(rest, this.term(part, rest, isStart));
    throw new FormatError(
      `the pattern ${JSON.stringify(this.#source)} repeats a group with ^, $ or a look-ahead, which is not supported`,
    );
  }
}

function parts(node: PatternNode): readonly PatternNode[] {
  return 'parts' in node ? node.parts : 'part' in node ? [node.part] : [];
}

function hasStart(node: PatternNode): boolean {
  return node.kind === 'start' || parts(node).some(hasStart);
}

function hasAssertion(node: PatternNode): boolean {
  return node.kind === 'start' || node.kind === 'end' || node.kind === 'look' || parts(node).some(hasAssertion);
}

function isZeroWidth(node: PatternNode): boolean {
  if (node.kind === 'choice' || node.kind === 'sequence') return node.parts.every(isZeroWidth);
  return node.kind === 'start' || node.kind === 'end' || node.kind === 'look';
}

function mayBeEmpty(node: PatternNode): boolean {
  if (node.kind === 'set') return false;
  if (node.kind === 'choice') return node.parts.some(mayBeEmpty);
  if (node.kind === 'sequence') return node.parts.every(mayBeEmpty);
  return node.kind !== 'repeat' || node.min === 0 || mayBeEmpty(node.part);
}

/** Whether no match can begin later than at the start. */
function alwaysAtStart(node: PatternNode): boolean {
  if (node.kind === 'start') return true;
  if (node.kind === 'choice') return node.parts.every(alwaysAtStart);
  return node.kind === 'sequence' && node.parts.length > 0 && alwaysAtStart(node.parts[0]);
}
