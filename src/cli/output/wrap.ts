/**
 * @file Breaks lines of text that comes in pieces, between words.
 */

/** The line in as many lines as it takes, broken between words. */
export function wrapLine(line: string, width: number): string {
  const indent = /^ */.exec(line)![0];
  let out = '';
  let column = 0;
  for (const [, space, word] of line.matchAll(/( *)([^ ]+)/g)) {
    const length = visibleLength(word);
    if (column > indent.length && column + space.length + length > width) {
      out += `\n${indent}`;
      column = indent.length;
    } else {
      out += space;
      column += space.length;
    }
    out += word;
    column += length;
  }
  return out;
}

/** Escape sequences of colours take no columns. */
const visibleLength = (text: string): number => text.replace(/\x1b\[[\d;]*m/g, '').length;

/** Text goes in as it comes; what comes out has lines of at most `width`, each with the indent before it. */
export class LineWrapper {
  readonly #width: number;
  readonly #indent: string;
  #column = 0;
  #space = '';
  #word = '';

  /** @param width of a line, the indent included. */
  constructor(width: number, indent = '') {
    this.#indent = indent;
    this.#width = Math.max(1, width - indent.length);
  }

  /** The part of the text that can be placed: all but its last word, which may go on. */
  push(text: string): string {
    let out = '';
    for (const char of text) {
      if (char !== ' ' && char !== '\n') {
        this.#word += char;
        continue;
      }
      out += this.#flushWord();
      if (char === '\n') {
        out += '\n';
        this.#column = 0;
        this.#space = '';
      } else {
        this.#space += char;
      }
    }
    return out;
  }

  /** No more text comes. */
  flush(): string {
    return this.#flushWord();
  }

  #flushWord(): string {
    if (this.#word === '') return '';
    const length = visibleLength(this.#word);
    const wraps = this.#column > 0 && this.#column + this.#space.length + length > this.#width;
    // Spaces at the start of a line are kept: they indent code.
    const before = wraps ? `\n${this.#indent}` : `${this.#column === 0 ? this.#indent : ''}${this.#space}`;
    this.#column = wraps ? length : this.#column + this.#space.length + length;
    const out = before + this.#word;
    this.#space = '';
    this.#word = '';
    return out;
  }
}
