/**
 * @file Regular expressions as adapters name modules with. They come with files of strangers, so they are matched in
 * linear time.
 */
import { AdapterError } from '../../util/errors.ts';
import { Regex, RegexError } from '../../util/regex/regex.ts';

const MAX_LENGTH = 2000;

/** A pattern that was read. */
export class Pattern {
  readonly source: string;
  readonly #start: Regex;
  readonly #all: Regex;

  /** @throws AdapterError for what is no pattern, or uses a construct that is not supported (back references, say). */
  constructor(source: string) {
    this.source = source;
    if (source.length > MAX_LENGTH)
      throw new AdapterError(`a pattern has ${source.length} characters; at most ${MAX_LENGTH} are supported`);
    this.#start = this.#guarded(() => new Regex(source));
    this.#all = this.#guarded(() => new Regex(`(?:${source})\\z`));
  }

  /** Whether the whole text matches (Python's `re.fullmatch`). */
  matchesAll(text: string): boolean {
    return this.#guarded(() => this.#all.matchStart(text) >= 0);
  }

  /** Whether a beginning of the text matches (Python's `re.match`). */
  matchesStart(text: string): boolean {
    return this.#guarded(() => this.#start.matchStart(text) >= 0);
  }

  #guarded<T>(run: () => T): T {
    try {
      return run();
    } catch (cause) {
      if (!(cause instanceof RegexError)) throw cause;
      throw new AdapterError(`${cause.message}: ${JSON.stringify(this.source)}`, { cause });
    }
  }
}

/** A plain text as a pattern for itself. */
export function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
