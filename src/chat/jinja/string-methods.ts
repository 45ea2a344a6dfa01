/**
 * @file Methods of Python's strings.
 */
import { Arguments } from './arguments.ts';
import type { Budget } from './budget.ts';
import { JinjaError } from './errors.ts';
import { formatBraces } from './format.ts';
import { isAllSpace, SPACES, trimEndSpaces, trimStartSpaces } from './spaces.ts';
import { Callable, iterate, lengthOf, Tuple, tupleOf, typeName, type Value } from './values.ts';

type Method = (self: string, args: Arguments, budget: Budget) => Value;
const WORD = new RegExp(`[^${SPACES}]+`, 'g');
const LINE_END = /\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]/g;

/** Takes characters of `chars` (white space where it is null) away at the start, the end, or both. */
export function strip(text: string, chars: string | null, sides: 'both' | 'start' | 'end' = 'both'): string {
  if (chars === null) {
    const rest = sides === 'end' ? text : trimStartSpaces(text);
    return sides === 'start' ? rest : trimEndSpaces(rest);
  }
  const set = new Set(Array.from(chars));
  const points = Array.from(text);
  let [start, end] = [0, points.length];
  if (sides !== 'end') while (start < end && set.has(points[start])) start++;
  if (sides !== 'start') while (end > start && set.has(points[end - 1])) end--;
  return end - start === points.length ? text : points.slice(start, end).join('');
}

function split(text: string, separator: string | null, limit: number): string[] {
  if (separator === null) return splitWords(text, limit);
  if (separator === '') throw new JinjaError('ValueError: empty separator');
  const parts = text.split(separator);
  return limit < 0 || parts.length <= limit + 1
    ? parts
    : [...parts.slice(0, limit), parts.slice(limit).join(separator)];
}

function splitWords(text: string, limit: number): string[] {
  const words: string[] = [];
  for (const { 0: word, index } of text.matchAll(WORD)) {
    if (words.length === limit) return [...words, text.slice(index)];
    words.push(word);
  }
  return words;
}

function splitFromEnd(text: string, separator: string | null, limit: number): string[] {
  if (limit < 0) return split(text, separator, limit);
  const mirror = (value: string) => Array.from(value).reverse().join('');
  return split(mirror(text), separator === null ? null : mirror(separator), limit)
    .map(mirror)
    .reverse();
}

function splitLines(text: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const { 0: end, index } of text.matchAll(LINE_END)) {
    lines.push(text.slice(start, keepEnds ? index + end.length : index));
    start = index + end.length;
  }
  return start < text.length ? [...lines, text.slice(start)] : lines;
}

/** The index in UTF-16 of a Python index. */
function unitIndex(text: string, index: number): number {
  const points = Array.from(text);
  const at = index < 0 ? Math.max(0, points.length + index) : index;
  return points.slice(0, at).join('').length;
}

function within(text: string, args: Arguments): { readonly part: string; readonly offset: number } {
  const start = args.get('start') === null ? 0 : unitIndex(text, args.int('start'));
  const end = args.get('end') === null ? text.length : unitIndex(text, args.int('end'));
  return { part: text.slice(start, end), offset: start };
}

function find(text: string, args: Arguments, last: boolean): number {
  const { part, offset } = within(text, args);
  const wanted = args.text('sub');
  const at = last ? part.lastIndexOf(wanted) : part.indexOf(wanted);
  return at < 0 ? -1 : lengthOf(text.slice(0, offset + at));
}

function found(text: string, args: Arguments, last: boolean): number {
  const at = find(text, args, last);
  if (at < 0) throw new JinjaError('ValueError: substring not found');
  return at;
}

function affix(text: string, args: Arguments, key: string, has: (part: string, wanted: string) => boolean): boolean {
  const { part } = within(text, args);
  const wanted = args.need(key);
  return wanted instanceof Tuple
    ? wanted.some((one) => typeof one === 'string' && has(part, one))
    : has(part, args.text(key));
}

/** Every character fits, and there is one. */
const every = (pattern: RegExp): readonly [readonly string[], Method] => [[], (text) => pattern.test(text)];

const title = (text: string): string =>
  text.replace(/\p{L}+/gu, (word) => {
    const [first, ...rest] = Array.from(word);
    return first.toUpperCase() + rest.join('').toLowerCase();
  });

export function capitalize(text: string): string {
  const [first = '', ...rest] = Array.from(text);
  return first.toUpperCase() + rest.join('').toLowerCase();
}

function pad(text: string, args: Arguments, budget: Budget, side: 'start' | 'end' | 'both'): string {
  const count = Math.max(0, args.int('width') - lengthOf(text));
  budget.spend(count);
  const fill = args.text('fillchar', ' ');
  // Python's own rounding: of an odd rest the larger part goes to the left where the width is odd.
  const left = side === 'start' ? count : side === 'end' ? 0 : Math.floor(count / 2) + (count & args.int('width') & 1);
  return fill.repeat(left) + text + fill.repeat(count - left);
}

function partition(text: string, separator: string, last: boolean): Value {
  const at = last ? text.lastIndexOf(separator) : text.indexOf(separator);
  if (at < 0) return last ? tupleOf('', '', text) : tupleOf(text, '', '');
  return tupleOf(text.slice(0, at), separator, text.slice(at + separator.length));
}

function replace(text: string, args: Arguments, budget: Budget): string {
  const [old, fresh, count] = [args.text('old'), args.text('new'), args.int('count', -1)];
  return budget.text(replaceText(text, old, fresh, count));
}

/** The first `count` of `old`, or all where it is negative. */
export function replaceText(text: string, old: string, fresh: string, count: number): string {
  if (count < 0) return text.replaceAll(old, () => fresh);
  const parts = old === '' ? ['', ...Array.from(text), ''] : text.split(old);
  const head = parts.slice(0, count + 1).join(fresh);
  return [head, ...parts.slice(count + 1)].join(old);
}

const METHODS: Readonly<Record<string, readonly [names: readonly string[], run: Method]>> = {
  strip: [['chars'], (text, args) => strip(text, args.textOrNull('chars'))],
  lstrip: [['chars'], (text, args) => strip(text, args.textOrNull('chars'), 'start')],
  rstrip: [['chars'], (text, args) => strip(text, args.textOrNull('chars'), 'end')],
  split: [['sep', 'maxsplit'], (text, args) => split(text, args.textOrNull('sep'), args.int('maxsplit', -1))],
  rsplit: [['sep', 'maxsplit'], (text, args) => splitFromEnd(text, args.textOrNull('sep'), args.int('maxsplit', -1))],
  splitlines: [['keepends'], (text, args) => splitLines(text, args.bool('keepends', false))],
  replace: [['old', 'new', 'count'], replace],
  startswith: [['prefix', 'start', 'end'], (text, args) => affix(text, args, 'prefix', (a, b) => a.startsWith(b))],
  endswith: [['suffix', 'start', 'end'], (text, args) => affix(text, args, 'suffix', (a, b) => a.endsWith(b))],
  removeprefix: [
    ['prefix'],
    (text, args) => (text.startsWith(args.text('prefix')) ? text.slice(args.text('prefix').length) : text),
  ],
  removesuffix: [
    ['suffix'],
    (text, args) =>
      text.endsWith(args.text('suffix')) ? text.slice(0, text.length - args.text('suffix').length) : text,
  ],
  find: [['sub', 'start', 'end'], (text, args) => find(text, args, false)],
  rfind: [['sub', 'start', 'end'], (text, args) => find(text, args, true)],
  index: [['sub', 'start', 'end'], (text, args) => found(text, args, false)],
  rindex: [['sub', 'start', 'end'], (text, args) => found(text, args, true)],
  count: [
    ['sub', 'start', 'end'],
    (text, args) => {
      const { part } = within(text, args);
      return args.text('sub') === '' ? lengthOf(part) + 1 : part.split(args.text('sub')).length - 1;
    },
  ],
  join: [
    ['iterable'],
    (text, args, budget) => {
      const parts = iterate(args.need('iterable')).map((part) => {
        if (typeof part !== 'string') throw new JinjaError(`TypeError: join() takes str, but got ${typeName(part)}`);
        return part;
      });
      budget.spend(parts.reduce((sum, part) => sum + part.length + text.length, 0));
      return parts.join(text);
    },
  ],
  upper: [[], (text) => text.toUpperCase()],
  lower: [[], (text) => text.toLowerCase()],
  casefold: [[], (text) => text.replaceAll('ß', 'ss').toLowerCase()],
  capitalize: [[], capitalize],
  title: [[], title],
  swapcase: [
    [],
    (text) =>
      text.replace(/\p{L}/gu, (char) => (char === char.toUpperCase() ? char.toLowerCase() : char.toUpperCase())),
  ],
  center: [['width', 'fillchar'], (text, args, budget) => pad(text, args, budget, 'both')],
  ljust: [['width', 'fillchar'], (text, args, budget) => pad(text, args, budget, 'end')],
  rjust: [['width', 'fillchar'], (text, args, budget) => pad(text, args, budget, 'start')],
  zfill: [
    ['width'],
    (text, args, budget) => {
      const count = Math.max(0, args.int('width') - lengthOf(text));
      budget.spend(count);
      return text.replace(/^[+-]?/, (sign) => sign + '0'.repeat(count));
    },
  ],
  expandtabs: [
    ['tabsize'],
    (text, args, budget) => {
      const size = Math.min(args.int('tabsize', 8), 1000);
      let column = 0;
      const expand = (char: string) => {
        const piece = char === '\t' ? ' '.repeat(size > 0 ? size - (column % size) : 0) : char;
        column = char === '\n' || char === '\r' ? 0 : column + piece.length;
        return piece;
      };
      return budget.text(Array.from(text, expand).join(''));
    },
  ],
  partition: [['sep'], (text, args) => partition(text, args.text('sep'), false)],
  rpartition: [['sep'], (text, args) => partition(text, args.text('sep'), true)],
  isdigit: every(/^[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089]+$/u),
  isdecimal: every(/^\p{Nd}+$/u),
  isnumeric: every(/^\p{N}+$/u),
  isalpha: every(/^\p{L}+$/u),
  isalnum: every(/^[\p{L}\p{N}]+$/u),
  isspace: [[], (text) => isAllSpace(text)],
  isascii: every(/^[\0-\x7f]*$/),
  isidentifier: every(/^[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*$/u),
  isupper: [[], (text) => /[\p{Lu}\p{Lt}]/u.test(text) && !/[\p{Ll}\p{Lt}]/u.test(text)],
  islower: [[], (text) => /\p{Ll}/u.test(text) && !/[\p{Lu}\p{Lt}]/u.test(text)],
  istitle: [[], (text) => /\p{L}/u.test(text) && text === title(text)],
};

export function stringMethod(text: string, name: string, budget: Budget): Callable | undefined {
  if (name === 'format') return new Callable(name, (args, kwargs) => budget.text(formatBraces(text, args, kwargs)));
  if (!Object.hasOwn(METHODS, name)) return undefined;
  const [names, run] = METHODS[name];
  return new Callable(name, (args, kwargs) => {
    budget.spend(text.length);
    return run(text, new Arguments(name, names, args, kwargs), budget);
  });
}
