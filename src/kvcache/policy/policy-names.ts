/**
 * @file Names of policies as they are written: `h2o`, `routed(echo, lastrec)`, and modules by their paths,
 * `mix(./mine.mjs, h2o)`.
 */

/** What policies can be made of others. */
export type Combination = 'ada' | 'mix' | 'routed';

/** `mix(a, b)` as its kind and the names within; null: a name that has none within. */
export function readCombination(name: string): { readonly kind: Combination; readonly parts: string[] } | null {
  const [, kind, inner] = /^(ada|mix|routed)\((.*)\)$/s.exec(name.trim()) ?? [];
  return kind === undefined ? null : { kind: kind as Combination, parts: splitNames(inner) };
}

/** All names that are no combinations. */
export function namesIn(name: string): string[] {
  return readCombination(name)?.parts.flatMap(namesIn) ?? [name];
}

/** Whether a name is the path or the URL of a module. */
export const isModule = (name: string): boolean => /[/\\.]/.test(name);

/** A policy's name with other names of its modules. */
export function renameModules(name: string, rename: (module: string) => string): string {
  const read = readCombination(name);
  if (read) return `${read.kind}(${read.parts.map((part) => renameModules(part, rename)).join(', ')})`;
  return isModule(name) ? rename(name) : name;
}

/** A policy's name with the URLs of its modules. */
export function withUrls(name: string, urlOf: (path: string) => string): string {
  if (!readCombination(name)) return urlOf(name);
  // Commas and brackets would end a name.
  const escaped = (letter: string) => `%${letter.charCodeAt(0).toString(16)}`;
  return renameModules(name, (module) => urlOf(module).replace(/[(),]/g, escaped));
}

/** Names between commas; commas within brackets are a part of a name. */
export function splitNames(text: string): string[] {
  const names: string[] = [''];
  let depth = 0;
  for (const letter of text) {
    if (letter === '(') depth++;
    if (letter === ')') depth--;
    if (letter === ',' && depth === 0) names.push('');
    else names[names.length - 1] += letter;
  }
  return names.map((name) => name.trim());
}
