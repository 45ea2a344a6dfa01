/**
 * @file Refuses options that do not exist, and says which one was probably meant.
 */
import { InputError } from './errors.ts';

/** The names of an options type: `satisfies OptionNames<LoadOptions>` makes the compiler check that none is missing. */
export type OptionNames<T> = Readonly<Record<keyof T, true>>;

/**
 * Checks the names of options.
 * @param what the options belong to, for the message, such as `loadModel`.
 * @param known all names that there are.
 * @param renamed names of before or of other libraries, and what they are called here.
 * @throws InputError for a name that is not known, whatever its value; undefined counts as not given.
 */
export function checkOptionNames(
  what: string,
  options: object,
  known: Readonly<Record<string, true>>,
  renamed: Readonly<Record<string, string>> = {},
): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || Object.hasOwn(known, name)) continue;
    if (Object.hasOwn(renamed, name))
      throw new InputError(`${what} has no option ${name}; it is called ${renamed[name]} here`);
    const near = closestName(name, Object.keys(known));
    const hint = near === undefined ? `; there are ${Object.keys(known).sort().join(', ')}` : `; did you mean ${near}?`;
    throw new InputError(`${what} has no option ${name}${hint}`);
  }
}

/** The name that differs least; undefined where all differ by more than a third of their letters. */
export function closestName(name: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const candidate of names) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best !== undefined && least <= Math.max(1, Math.ceil(Math.max(best.length, name.length) / 3))
    ? best
    : undefined;
}

/** Letters to insert, remove or replace, and neighbours to swap (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let [before, row] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}
