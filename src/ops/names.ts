/**
 * @file Names of values: made from the scope, so that a profile reads like the model, and never given twice.
 */
import { GraphError } from '../util/errors.ts';

export class ScopedNames {
  readonly #taken = new Set<string>();
  #scope = '';

  /** What names begin with now, such as `h.0.`. */
  get scope(): string {
    return this.#scope;
  }

  /** Runs `body` with `name` put before the names of all that it makes. */
  within<T>(name: string, body: () => T): T {
    const outer = this.#scope;
    this.#scope = `${outer}${name}.`;
    try {
      return body();
    } finally {
      this.#scope = outer;
    }
  }

  /** @throws GraphError for a name that is taken. */
  claim(name: string): string {
    if (this.#taken.has(name)) throw new GraphError(`two values of the graph are named ${name}`);
    this.#taken.add(name);
    return name;
  }
}
