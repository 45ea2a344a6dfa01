/**
 * @file A template as tokens, with white space trimmed as transformers sets jinja2 up: `trim_blocks` and
 * `lstrip_blocks`.
 */
import { JinjaError } from './errors.ts';
import { isAllSpace, SPACES, spaceEnd, trimEndSpaces } from './spaces.ts';

export type TokenType =
  | 'data'
  | 'block-begin'
  | 'block-end'
  | 'variable-begin'
  | 'variable-end'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | 'eof';

export interface Token {
  readonly type: TokenType;
  readonly text: string;
  readonly line: number;
}

const RAW_BEGIN = new RegExp(`\\{%([-+]?)[${SPACES}]*raw[${SPACES}]*(-%\\}[${SPACES}]*|%\\})`, 'y');
const RAW_END = new RegExp(`\\{%([-+]?)[${SPACES}]*endraw[${SPACES}]*(?:\\+%\\}|-%\\}[${SPACES}]*|%\\}\\n?)`, 'g');
const COMMENT_END = new RegExp(`\\+#\\}|-#\\}[${SPACES}]*|#\\}\\n?`, 'g');
const BLOCK_END = new RegExp(`\\+%\\}|-%\\}[${SPACES}]*|%\\}\\n?`, 'y');
const VARIABLE_END = new RegExp(`-\\}\\}[${SPACES}]*|\\}\\}`, 'y');
const FLOAT = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*/uy;
const STRING = /'(?:[^'\\]|\\[\s\S])*'|"(?:[^"\\]|\\[\s\S])*"/y;
const OPERATOR = /\/\/|\*\*|[=!<>]=|[-+/*%~[\](){}<>=.:|,;]/y;
const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** @throws JinjaError says which line can't be read. */
export function tokenize(template: string): Token[] {
  const source = template.replace(/\r\n?/g, '\n').replace(/\n$/, '');
  return new Lexer(source).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  /** Line of `#counted`, the index up to which lines were counted. */
  #line = 1;
  #counted = 0;
  /** Whether the last tag ended with its line. */
  #lineStart = true;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    const source = this.#source;
    while (this.#at < source.length) {
      const begin = this.#nextTag();
      if (begin < 0) {
        this.#push('data', source.slice(this.#at));
        this.#at = source.length;
        break;
      }
      this.#tag(begin);
    }
    this.#push('eof', '');
    return this.#tokens;
  }

  #nextTag(): number {
    for (let at = this.#at; ; at++) {
      at = this.#source.indexOf('{', at);
      if (at < 0 || '{%#'.includes(this.#source[at + 1] || ' ')) return at;
    }
  }

  /** Reads the data before a tag, and the tag. */
  #tag(begin: number): void {
    const source = this.#source;
    const kind = source[begin + 1];
    const sign = '-+'.includes(source[begin + 2] || ' ') ? source[begin + 2] : '';
    let data = source.slice(this.#at, begin);
    if (sign === '-') data = trimEndSpaces(data);
    else if (sign === '' && kind !== '{') {
      const line = data.lastIndexOf('\n') + 1;
      if ((line > 0 || this.#lineStart) && isAllSpace(data.slice(line))) data = data.slice(0, line);
    }
    if (data !== '') this.#push('data', data);
    this.#at = begin;
    const raw = kind === '%' ? this.#match(RAW_BEGIN) : null;
    this.#at = begin + 2 + sign.length;
    if (raw !== null) this.#raw(begin + raw.length);
    else if (kind === '#') this.#skipTo(COMMENT_END, 'comment');
    else {
      this.#push(kind === '%' ? 'block-begin' : 'variable-begin', '');
      this.#expression(kind === '%' ? BLOCK_END : VARIABLE_END, kind === '%' ? 'block-end' : 'variable-end');
    }
  }

  #raw(start: number): void {
    RAW_END.lastIndex = start;
    const end = RAW_END.exec(this.#source);
    if (!end) throw this.#error('a raw block is not closed');
    const [whole, sign] = end;
    let data = this.#source.slice(start, end.index);
    if (sign === '-') data = trimEndSpaces(data);
    else if (sign === '') {
      const line = data.lastIndexOf('\n') + 1;
      if (line > 0 && isAllSpace(data.slice(line))) data = data.slice(0, line);
    }
    if (data !== '') this.#push('data', data);
    this.#at = end.index + whole.length;
    this.#lineStart = whole.endsWith('\n');
  }

  #skipTo(pattern: RegExp, what: string): void {
    pattern.lastIndex = this.#at;
    const end = pattern.exec(this.#source);
    if (!end) throw this.#error(`a ${what} is not closed`);
    this.#at = end.index + end[0].length;
    this.#lineStart = end[0].endsWith('\n');
  }

  /** The tokens of a tag, up to its end. */
  #expression(endPattern: RegExp, endType: TokenType): void {
    const open: string[] = [];
    for (;;) {
      const end = open.length === 0 ? this.#match(endPattern) : null;
      if (end !== null) {
        this.#push(endType, '');
        this.#at += end.length;
        this.#lineStart = end.endsWith('\n');
        return;
      }
      if (this.#at >= this.#source.length) throw this.#error('a tag is not closed');
      const next = spaceEnd(this.#source, this.#at);
      if (next > this.#at) this.#at = next;
      else this.#token(open);
    }
  }

  #token(open: string[]): void {
    for (const [type, pattern] of [
      ['float', FLOAT],
      ['integer', INTEGER],
      ['name', NAME],
      ['string', STRING],
      ['operator', OPERATOR],
    ] as const) {
      const text = this.#match(pattern);
      if (text === null) continue;
      // `a.1.2` is two indexes and no float.
      if (type === 'float' && this.#source[this.#at - 1] === '.') continue;
      if (type === 'operator') this.#balance(text, open);
      this.#push(type, type === 'string' ? decodeEscapes(text.slice(1, -1)) : text);
      this.#at += text.length;
      return;
    }
    throw this.#error(`unexpected ${JSON.stringify(this.#source[this.#at])}`);
  }

  #balance(text: string, open: string[]): void {
    if (text in CLOSING) open.push(CLOSING[text]);
    else if (')]}'.includes(text) && open.pop() !== text) throw this.#error(`unexpected '${text}'`);
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#source)?.[0] ?? null;
  }

  #push(type: TokenType, text: string): void {
    for (; this.#counted < this.#at; this.#counted++) if (this.#source.charCodeAt(this.#counted) === 10) this.#line++;
    this.#tokens.push({ type, text, line: this.#line });
  }

  #error(what: string): JinjaError {
    const line = this.#source.slice(0, this.#at).split('\n').length;
    return new JinjaError(`line ${line}: ${what}`);
  }
}

const ESCAPED: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '\n': '',
};

/** Python's escapes; an unknown one stays as it is. */
function decodeEscapes(text: string): string {
  return text.replace(
    /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))/g,
    (whole, octal?: string, x?: string, u?: string, long?: string, char?: string) => {
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
      const hex = x ?? u ?? long;
      if (hex === undefined) return ESCAPED[char ?? ''] ?? whole;
      const code = Number.parseInt(hex, 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
}
