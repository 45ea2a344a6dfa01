/**
 * @file Calls whose form a grammar enforces. They can't turn out to be none, so they are given while they are being
 * written.
 */
import type { CallWriting } from './formats.ts';

export type WrittenPart =
  | { readonly type: 'call'; readonly name: string }
  | { readonly type: 'arguments'; readonly text: string };

export class WrittenCalls {
  readonly #write: CallWriting;
  #state: 'open' | 'name' | 'arguments' | 'last' | 'after' | 'done' = 'open';
  #held = '';
  #count = 0;
  /** Open brackets of the arguments. */
  #depth = 0;
  #inString = false;
  #escaped = false;

  constructor(write: CallWriting) {
    this.#write = write;
  }

  /** The text that follows the calls, once they are over; null before. */
  get rest(): string | null {
    return this.#state === 'done' ? this.#held : null;
  }

  /** What came of a call whose name is not known yet. */
  get unnamed(): string {
    if (this.#state === 'open') return this.#held;
    const { open, before } = this.#write;
    return this.#state === 'name' ? `${this.#count === 0 ? open : ''}${before}${this.#held}` : '';
  }

  /** @param text the next piece; the first one begins with the marker of the first call. */
  push(text: string): WrittenPart[] {
    this.#held += text;
    const parts: WrittenPart[] = [];
    while (this.#step(parts));
    return parts;
  }

  #step(parts: WrittenPart[]): boolean {
    const { open, before, after, last, between, close } = this.#write;
    switch (this.#state) {
      case 'open':
        return this.#take(open + before, 'name');
      case 'name': {
        const end = this.#held.indexOf(after);
        if (end < 0) return false;
        this.#count++;
        parts.push({ type: 'call', name: this.#held.slice(0, end) });
        this.#held = this.#held.slice(end + after.length);
        this.#state = 'arguments';
        return true;
      }
      case 'arguments': {
        const length = this.#argumentsIn(this.#held);
        if (length > 0) parts.push({ type: 'arguments', text: this.#held.slice(0, length) });
        this.#held = this.#held.slice(length);
        return this.#state !== 'arguments';
      }
      case 'last':
        return this.#take(last, 'after');
      case 'after': {
        const next = between + before;
        if (this.#held.startsWith(next)) return this.#take(next, 'name');
        if (next.startsWith(this.#held)) return false;
        if (close.startsWith(this.#held) && this.#held.length < close.length) return false;
        if (this.#held.startsWith(close)) this.#held = this.#held.slice(close.length);
        this.#state = 'done';
        return false;
      }
    }
    return false;
  }

  /** Reads a text that must come. */
  #take(text: string, state: 'name' | 'after'): boolean {
    if (this.#held.length < text.length) return false;
    this.#held = this.#held.slice(text.length);
    this.#state = state;
    return true;
  }

  /** How much of a text belongs to the arguments, which are an object of JSON. */
  #argumentsIn(text: string): number {
    for (let i = 0; i < text.length; i++) {
      const character = text[i];
      if (this.#escaped) this.#escaped = false;
      else if (this.#inString) {
        if (character === '\\') this.#escaped = true;
        else if (character === '"') this.#inString = false;
      } else if (character === '"') this.#inString = true;
      else if (character === '{' || character === '[') this.#depth++;
      else if ((character === '}' || character === ']') && --this.#depth === 0) {
        this.#state = 'last';
        return i + 1;
      }
    }
    return text.length;
  }
}
