/**
 * @file What a template may use. Templates come with checkpoints, so that they must not hang or fill the process.
 */
import { JinjaError } from './errors.ts';

export interface Limits {
  /** Parts of the template that are run, and characters and items that are made (16 count as one). */
  readonly steps: number;
  /** Characters of one text. */
  readonly text: number;
  /** Macros within macros. */
  readonly depth: number;
}

/**
 * Some 2 s, and texts of 30 million characters: a message takes some 100 steps, and a million tokens are 4 million
 * characters.
 */
export const LIMITS: Limits = { steps: 5_000_000, text: 30_000_000, depth: 200 };

/** Items that range() gives, as jinja2's sandbox. */
const MAX_RANGE = 100_000;

export class Budget {
  readonly #limits: Limits;
  #steps = 0;
  #depth = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  step(count = 1): void {
    this.#steps += count;
    if (this.#steps > this.#limits.steps)
      throw new JinjaError(`it runs for more than ${this.#limits.steps} steps; does a loop of it never end?`);
  }

  /** Counts a text that was made. */
  text(text: string): string {
    this.spend(text.length);
    return text;
  }

  /** Counts characters or items that are to be made. */
  spend(length: number): void {
    if (length > this.#limits.text)
      throw new JinjaError(`it makes a text of more than ${this.#limits.text} characters`);
    this.step(Math.ceil(length / 16));
  }

  range(length: number): void {
    if (length > MAX_RANGE) throw new JinjaError(`OverflowError: range() is limited to ${MAX_RANGE} items`);
    this.step(length);
  }

  within<T>(run: () => T): T {
    if (++this.#depth > this.#limits.depth)
      throw new JinjaError(`its macros call each other more than ${this.#limits.depth} deep`);
    try {
      return run();
    } finally {
      this.#depth--;
    }
  }
}
