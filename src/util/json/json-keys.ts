/**
 * @file What JSON.parse hides: keys that occur twice in one object, and nesting deep enough to exhaust memory.
 */

/** What is wrong with the text beyond its grammar. */
export type JsonFlaw = { readonly kind: 'duplicate'; readonly key: string } | { readonly kind: 'depth' };

/**
 * Looks for the first flaw of `text`. Keys are compared by meaning: `"a"` and `"\u0061"` are the same.
 *
 * The text need not be valid: where the grammar breaks, the rest is of no interest, since JSON.parse will refuse it.
 * @param keys `any`: a key that occurs twice is no flaw.
 */
export function findJsonFlaw(text: string, maxDepth: number, keys: 'unique' | 'any' = 'unique'): JsonFlaw | undefined {
  // One entry per open container: the keys seen so far, or undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  let at = 0;
  while (at < text.length) {
    const char = text.charCodeAt(at);
    if (char === 0x7b || char === 0x5b) {
      if (open.length >= maxDepth) return { kind: 'depth' };
      open.push(char === 0x7b ? new Set() : undefined);
    } else if (char === 0x7d || char === 0x5d) {
      open.pop();
    } else if (char === 0x22) {
      const end = stringEnd(text, at);
      if (end < 0) return undefined;
      const seen = keys === 'unique' ? open.at(-1) : undefined;
      if (seen !== undefined && followedByColon(text, end)) {
        const key = decode(text.slice(at, end));
        if (key === undefined) return undefined;
        if (seen.has(key)) return { kind: 'duplicate', key };
        seen.add(key);
      }
      at = end;
      continue;
    }
    at++;
  }
  return undefined;
}

/** The index after the closing quote of the string that starts at `start`, or -1. */
function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length) {
    const char = text.charCodeAt(at);
    if (char === 0x22) return at + 1;
    at += char === 0x5c ? 2 : 1;
  }
  return -1;
}

/** In JSON a string is a key exactly where a colon follows it. */
function followedByColon(text: string, end: number): boolean {
  let at = end;
  while (at < text.length) {
    const char = text.charCodeAt(at);
    if (char !== 0x20 && char !== 0x09 && char !== 0x0a && char !== 0x0d) return char === 0x3a;
    at++;
  }
  return false;
}

function decode(quoted: string): string | undefined {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return undefined;
  }
}
