/**
 * @file Values of calls that are not written as JSON: Python's literals, and those of Gemma's calls.
 */

/** A syntax of values. */
interface Syntax {
  /** Literal words and their values. */
  readonly words: Readonly<Record<string, unknown>>;
  /** Reads a string; undefined: none begins here. */
  readonly string: (reader: LiteralReader) => string | undefined;
  /** Whether keys of objects are bare words. */
  readonly bareKeys: boolean;
}

/** The text is not of the syntax. */
export class LiteralError extends Error {}

export class LiteralReader {
  readonly #text: string;
  readonly #syntax: Syntax;
  #index = 0;

  constructor(text: string, syntax: Syntax) {
    this.#text = text;
    this.#syntax = syntax;
  }

  get atEnd(): boolean {
    this.#skipSpace();
    return this.#index === this.#text.length;
  }

  /** Whether a text comes next, which is then read. */
  take(text: string): boolean {
    this.#skipSpace();
    if (!this.#text.startsWith(text, this.#index)) return false;
    this.#index += text.length;
    return true;
  }

  /** @throws LiteralError where another text comes next. */
  expect(text: string): void {
    if (!this.take(text)) throw new LiteralError(`"${text}" is missing at ${this.#index}`);
  }

  /** Reads what a sticky pattern matches; null: nothing. */
  match(pattern: RegExp): RegExpExecArray | null {
    this.#skipSpace();
    pattern.lastIndex = this.#index;
    const found = pattern.exec(this.#text);
    if (found) this.#index += found[0].length;
    return found;
  }

  /** Up to a text, which is read, too. */
  until(text: string): string {
    const end = this.#text.indexOf(text, this.#index);
    if (end < 0) throw new LiteralError(`"${text}" is missing`);
    const before = this.#text.slice(this.#index, end);
    this.#index = end + text.length;
    return before;
  }

  /** Items up to a closing bracket. */
  list(close: string, item: () => void): void {
    if (this.take(close)) return;
    for (;;) {
      item();
      if (this.take(close)) return;
      this.expect(',');
      // Python allows a comma after the last one.
      if (this.take(close)) return;
    }
  }

  name(): string {
    const found = this.match(/[A-Za-z_][\w.-]*/y);
    if (!found) throw new LiteralError(`a name is missing at ${this.#index}`);
    return found[0];
  }

  value(depth = 0): unknown {
    if (depth > 64) throw new LiteralError('nested too deep');
    const string = this.#syntax.string(this);
    if (string !== undefined) return string;
    for (const [open, close] of [
      ['[', ']'],
      ['(', ')'],
    ])
      if (this.take(open)) {
        const values: unknown[] = [];
        this.list(close, () => values.push(this.value(depth + 1)));
        return values;
      }
    if (this.take('{')) return this.fields('}', ':', depth);
    const number = this.match(/-?\d+(\.\d+)?([eE][+-]?\d+)?(?![\w.])/y);
    if (number) return Number(number[0]);
    const word = this.match(/[A-Za-z_]\w*/y)?.[0];
    if (word !== undefined && Object.hasOwn(this.#syntax.words, word)) return this.#syntax.words[word];
    throw new LiteralError(`no value begins at ${this.#index}`);
  }

  /** Keys with values up to a closing bracket. */
  fields(close: string, separator: string, depth = 0): Record<string, unknown> {
    const fields: [string, unknown][] = [];
    this.list(close, () => {
      const key = separator === '=' || this.#syntax.bareKeys ? this.name() : this.#syntax.string(this);
      if (key === undefined) throw new LiteralError(`no key begins at ${this.#index}`);
      this.expect(separator);
      fields.push([key, this.value(depth + 1)]);
    });
    return Object.fromEntries(fields);
  }

  #skipSpace(): void {
    while (/\s/.test(this.#text[this.#index] ?? '')) this.#index++;
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', '\n': '' };

export const PYTHON: Syntax = {
  words: { True: true, False: false, None: null, true: true, false: false, null: null },
  bareKeys: false,
  string(reader) {
    const found = reader.match(/'((?:[^'\\]|\\[\s\S])*)'|"((?:[^"\\]|\\[\s\S])*)"/y);
    if (!found) return undefined;
    return (found[1] ?? found[2]).replace(
      /\\(?:x([\dA-Fa-f]{2})|u([\dA-Fa-f]{4})|([\s\S]))/g,
      (_, byte: string | undefined, unit: string | undefined, one: string) =>
        byte || unit ? String.fromCharCode(Number.parseInt((byte ?? unit)!, 16)) : (ESCAPES[one] ?? one),
    );
  },
};

const ESCAPE = '<escape>';
export const GEMMA: Syntax = {
  words: { true: true, false: false, null: null },
  bareKeys: true,
  string: (reader) => (reader.take(ESCAPE) ? reader.until(ESCAPE) : undefined),
};
