/**
 * @file What Node shows of an object that is printed: a line of facts in place of its insides.
 */

/** A method of this name says it; `node:util` is not needed, which pages do not have. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom');

/** @returns `Name { fact: value, … }`. */
export function inspected(name: string, facts: Readonly<Record<string, unknown>>): string {
  const shown = Object.entries(facts).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  return `${name} { ${shown.join(', ')} }`;
}
