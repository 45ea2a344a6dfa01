/**
 * @file A position in the source of a pattern, which parsers of regular expressions move on.
 */

export class PatternCursor {
  protected readonly chars: readonly string[];
  protected at = 0;

  constructor(source: string) {
    this.chars = Array.from(source);
  }

  /** The next character; undefined at the end. */
  protected get char(): string | undefined {
    return this.chars[this.at];
  }

  /** Moves behind a text of ASCII characters, where it comes next. @returns whether it does. */
  protected skip(text: string): boolean {
    const found = Array.from(text).every((char, i) => this.chars[this.at + i] === char);
    if (found) this.at += text.length;
    return found;
  }

  /** Moves behind the digits that come next. */
  protected digits(): string {
    let digits = '';
    while (/^[0-9]$/.test(this.char ?? '')) digits += this.chars[this.at++];
    return digits;
  }
}
