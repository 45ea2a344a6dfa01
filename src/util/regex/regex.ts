/**
 * @file A matcher whose time is bounded by the lengths of pattern and text.
 *
 * Patterns come with checkpoints and adapters, and JavaScript's own matcher takes exponential time for some: `(a+)+$`
 * on 40 letters does not end. This one remembers from which instruction at which position there is no match, for the
 * whole text. A kept engine in linear time (re2js) has no look-ahead and no possessive repetition, which most published
 * tokenizers need.
 */
import { type CharSet, isWordChar } from './char-set.ts';
import { ASSERTIONS, compile, Op, type Program } from './program.ts';
import { parseRegex, RegexError } from './syntax.ts';

export { RegexError };

const MAX_LENGTH = 20_000;
/** Steps that a text may take for each of its characters. Published patterns take some 20. */
const STEPS_A_CHAR = 300;
/** Bits to remember by: 256 MB. */
const MAX_BITS = 2 ** 31;
/** Sets whose membership is kept in one table; its highest bit says that a character was looked at. */
const SETS_A_TABLE = 31;
const KNOWN = 2 ** 31;

/** A compiled pattern. */
export class Regex {
  readonly source: string;
  readonly #program: Program;
  readonly #tables: Uint32Array[];

  /** @throws RegexError for what is no pattern, or asks for what is not supported. */
  constructor(source: string) {
    if (source.length > MAX_LENGTH) throw new RegexError(`the pattern is too long, with ${source.length} characters`);
    this.source = source;
    this.#program = compile(parseRegex(source));
    const tables = Math.ceil(this.#program.sets.length / SETS_A_TABLE);
    this.#tables = Array.from({ length: tables }, () => new Uint32Array(0));
  }

  /**
   * Start and end of every match, in order; matches do not overlap.
   * @throws RegexError where it takes too many steps.
   */
  matches(text: string): number[] {
    const run = new Run(this.#program, this.#filledTables(), text);
    const found: number[] = [];
    for (let start = 0; start <= text.length; ) {
      const end = run.matchAt(start);
      if (end < 0) start += charLength(text, start);
      else {
        found.push(start, end);
        start = end > start ? end : start + charLength(text, start);
      }
    }
    return found;
  }

  /** The end of the match that starts at the beginning; -1 where there is none. */
  matchStart(text: string): number {
    return new Run(this.#program, this.#filledTables(), text).matchAt(0);
  }

  #filledTables(): readonly Uint32Array[] {
    // 256 kB each, so made when they are needed.
    for (const [i, table] of this.#tables.entries()) if (table.length === 0) this.#tables[i] = new Uint32Array(65536);
    return this.#tables;
  }
}

function charLength(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code >= 0xd800 && code < 0xdc00 && at + 1 < text.length ? 2 : 1;
}

/** The matches of a program in one text. */
class Run {
  readonly #program: Program;
  readonly #tables: readonly Uint32Array[];
  readonly #text: string;
  /** A bit for each split and position from which there is no match, or which is being tried. */
  readonly #tried: Uint32Array;
  /**
   * For each loop the last range of positions from which its rest does not match, and the last run of its characters.
   */
  readonly #failFrom: Int32Array;
  readonly #failTo: Int32Array;
  readonly #runFrom: Int32Array;
  readonly #runTo: Int32Array;
  readonly #lookResults = new Map<number, boolean>();
  #steps: number;
  /** What is left to try: instruction, position, and for loops the lowest position. */
  readonly #jobs: number[] = [];
  /** What is being tried, with the number of jobs below it: instruction, position, end of a loop (or -1), height. */
  readonly #trail: number[] = [];

  constructor(program: Program, tables: readonly Uint32Array[], text: string) {
    const count = program.ops.length;
    this.#program = program;
    this.#tables = tables;
    this.#text = text;
    const bits = program.splits.reduce((sum, split) => (split >= 0 ? sum + 1 : sum), 0) * (text.length + 1);
    if (bits > MAX_BITS) throw new RegexError(`the pattern is too large for a text of ${text.length} characters`);
    this.#tried = new Uint32Array(Math.ceil(bits / 32));
    this.#failFrom = new Int32Array(count).fill(-1);
    this.#failTo = new Int32Array(count).fill(-2);
    this.#runFrom = new Int32Array(count).fill(-1);
    this.#runTo = new Int32Array(count).fill(-1);
    this.#steps = (text.length + 1_000) * STEPS_A_CHAR;
  }

  matchAt(start: number): number {
    return this.#run(0, start);
  }

  /** Runs from an instruction up to the first `Match`; the position there, or -1. */
  #run(first: number, start: number): number {
    const { ops, a, b } = this.#program;
    const jobs = this.#jobs;
    const trail = this.#trail;
    const [jobBase, trailBase] = [jobs.length, trail.length];
    let pc = first;
    let pos = start;
    for (;;) {
      if (--this.#steps < 0)
        throw new RegexError(`the pattern takes too many steps on a text of ${this.#text.length} characters`);
      let isFine = true;
      switch (ops[pc]) {
        case Op.Char: {
          const length = this.#charAt(a[pc], pos);
          isFine = length > 0;
          pos += length;
          pc++;
          break;
        }
        case Op.Split:
          isFine = this.#try(pc, pos);
          if (!isFine) break;
          trail.push(pc, pos, -1, jobs.length - jobBase);
          jobs.push(b[pc], pos, -1);
          pc = a[pc];
          break;
        case Op.Jump:
          pc = a[pc];
          break;
        case Op.Loop: {
          isFine = !(pos >= this.#failFrom[pc] && pos <= this.#failTo[pc]);
          if (!isFine) break;
          const end = this.#runEnd(pc, pos);
          // From the range that failed no rest needs to be tried again.
          const last = this.#failTo[pc] === end && this.#failFrom[pc] > pos ? this.#before(this.#failFrom[pc]) : end;
          trail.push(pc, pos, end, jobs.length - jobBase);
          if (last > pos) jobs.push(pc + 1, this.#before(last), pos);
          pos = last;
          pc++;
          break;
        }
        case Op.LoopAll:
          pos = this.#runEnd(pc, pos);
          pc++;
          break;
        case Op.Ahead:
        case Op.Behind:
          isFine = this.#look(pc, pos) !== (b[pc] === 1);
          pc = a[pc];
          break;
        case Op.Atomic: {
          const end = this.#run(pc + 1, pos);
          isFine = end >= 0;
          pos = end;
          pc = a[pc];
          break;
        }
        case Op.Assert:
          isFine = this.#assert(a[pc], pos);
          pc++;
          break;
        default:
          // What is being tried did not fail.
          for (let i = trail.length - 4; i >= trailBase; i -= 4)
            if (trail[i + 2] < 0) this.#clear(trail[i], trail[i + 1]);
          jobs.length = jobBase;
          trail.length = trailBase;
          return pos;
      }
      if (isFine) continue;
      if (jobs.length === jobBase) {
        this.#fail(trailBase, -1);
        return -1;
      }
      const low = jobs[jobs.length - 1];
      pos = jobs[jobs.length - 2];
      pc = jobs[jobs.length - 3];
      // A loop that may still give up characters stays.
      if (low >= 0 && pos > low) jobs[jobs.length - 2] = this.#before(pos);
      else jobs.length -= 3;
      this.#fail(trailBase, (low >= 0 && pos > low ? jobs.length - 3 : jobs.length) - jobBase);
    }
  }

  /** All that was tried above a height has failed, for good. */
  #fail(base: number, height: number): void {
    const trail = this.#trail;
    while (trail.length > base && trail[trail.length - 1] > height) {
      const end = trail[trail.length - 2];
      const pc = trail[trail.length - 4];
      if (end >= 0) {
        this.#failFrom[pc] = trail[trail.length - 3];
        this.#failTo[pc] = end;
      }
      trail.length -= 4;
    }
  }

  /** Whether an instruction was not tried at a position yet; now it is. */
  #try(pc: number, pos: number): boolean {
    const bit = this.#program.splits[pc] * (this.#text.length + 1) + pos;
    const mask = 1 << (bit & 31);
    if ((this.#tried[bit >>> 5] & mask) !== 0) return false;
    this.#tried[bit >>> 5] |= mask;
    return true;
  }

  #clear(pc: number, pos: number): void {
    const bit = this.#program.splits[pc] * (this.#text.length + 1) + pos;
    this.#tried[bit >>> 5] &= ~(1 << (bit & 31));
  }

  /** Length of the character at a position where it is in the set, else 0. */
  #charAt(set: number, pos: number): number {
    const text = this.#text;
    if (pos >= text.length) return 0;
    const unit = text.charCodeAt(pos);
    if (unit >= 0xd800 && unit < 0xdc00 && pos + 1 < text.length) {
      const code = text.codePointAt(pos)!;
      return this.#program.sets[set](code) ? (code > 0xffff ? 2 : 1) : 0;
    }
    const table = this.#tables[Math.floor(set / SETS_A_TABLE)];
    const known = table[unit] || this.#learn(set, unit);
    return (known >>> (set % SETS_A_TABLE)) & 1;
  }

  /** Fills in which sets of a table a character is in. */
  #learn(set: number, unit: number): number {
    const group = Math.floor(set / SETS_A_TABLE);
    const sets: readonly CharSet[] = this.#program.sets.slice(group * SETS_A_TABLE, (group + 1) * SETS_A_TABLE);
    const bits = sets.reduce((sum, test, i) => (test(unit) ? sum + 2 ** i : sum), KNOWN);
    this.#tables[group][unit] = bits;
    return bits;
  }

  #runEnd(pc: number, pos: number): number {
    if (pos >= this.#runFrom[pc] && pos < this.#runTo[pc]) return this.#runTo[pc];
    const set = this.#program.a[pc];
    const known = this.#runFrom[pc];
    let end = pos;
    for (let length = this.#charAt(set, end); length > 0 && end !== known; length = this.#charAt(set, end))
      end += length;
    this.#steps -= (end - pos) >>> 3;
    if (end === known) end = this.#runTo[pc];
    this.#runFrom[pc] = pos;
    this.#runTo[pc] = end;
    return end;
  }

  #before(pos: number): number {
    const low = this.#text.charCodeAt(pos - 1);
    const high = this.#text.charCodeAt(pos - 2);
    return pos - (low >= 0xdc00 && low < 0xe000 && high >= 0xd800 && high < 0xdc00 ? 2 : 1);
  }

  #look(pc: number, pos: number): boolean {
    const key = pc * (this.#text.length + 1) + pos;
    const known = this.#lookResults.get(key);
    if (known !== undefined) return known;
    const result = this.#program.ops[pc] === Op.Ahead ? this.#run(pc + 1, pos) >= 0 : this.#lookBehind(pc, pos);
    this.#lookResults.set(key, result);
    return result;
  }

  #lookBehind(pc: number, pos: number): boolean {
    const reach = this.#program.reach.get(pc)!;
    for (let start = pos, back = 0; back <= reach && start >= 0; back++, start = start === 0 ? -1 : this.#before(start))
      if (new Run(this.#program, this.#tables, this.#text.slice(start, pos)).#run(pc + 1, 0) >= 0) return true;
    return false;
  }

  #assert(what: number, pos: number): boolean {
    const text = this.#text;
    switch (ASSERTIONS[what]) {
      case 'line-start':
        return pos === 0 || text[pos - 1] === '\n';
      case 'line-end':
        return pos === text.length || text[pos] === '\n';
      case 'text-start':
        return pos === 0;
      case 'text-end':
        return pos === text.length;
      case 'last-line-end':
        return pos === text.length || (pos === text.length - 1 && text[pos] === '\n');
    }
    const isWord = (at: number) => at >= 0 && at < text.length && isWordChar(text.codePointAt(at)!);
    const before = pos > 0 && isWord(this.#before(pos));
    return (before !== isWord(pos)) === (ASSERTIONS[what] === 'word');
  }
}
