/**
 * @file Breaks lines of text that comes in pieces, between words.
 */

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
      out += this.#place();
      if (char === '\n') {
        out += '\n';
        this.#column = 0;
        this.#space = '';
      } else if (this.#column > 0) {
        this.#space += char;
      }
    }
    return out;
  }

  /** No more text comes. */
  flush(): string {
    return this.#place();
  }

  #place(): string {
    if (this.#word === '') return '';
    const wraps = this.#column > 0 && this.#column + this.#space.length + this.#word.length > this.#width;
    const before = wraps ? `\n${this.#indent}` : this.#column === 0 ? this.#indent : this.#space;
    this.#column =
      wraps || this.#column === 0 ? this.#word.length : this.#column + this.#space.length + this.#word.length;
    const out = before + this.#word;
    this.#space = '';
    this.#word = '';
    return out;
  }
}
