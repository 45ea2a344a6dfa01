/**
 * @file Texts with special tokens. A special token has no text, so it has bytes of its own: 0xff, which is no part of
 * UTF-8, and its id. No other term takes these bytes.
 */
import type { Term, Terms } from './terms.ts';

/** Ids of special tokens by their names. */
export type SpecialTokens = ReadonlyMap<string, number>;

export function specialBytes(id: number): Uint8Array {
  return Uint8Array.of(0xff, id >>> 24, (id >>> 16) & 0xff, (id >>> 8) & 0xff, id & 0xff);
}

/** Exactly this text, its special tokens as tokens. */
export function textTerm(terms: Terms, text: string, specials: SpecialTokens): Term {
  const parts: Term[] = [];
  let rest = text;
  while (rest !== '') {
    // The first special token; of those that begin together the longest.
    let [first, name] = [rest.length, ''];
    for (const special of specials.keys()) {
      const index = special === '' ? -1 : rest.indexOf(special);
      if (index < 0 || index > first || (index === first && special.length <= name.length)) continue;
      [first, name] = [index, special];
    }
    parts.push(terms.text(rest.slice(0, first)));
    if (name === '') break;
    parts.push(...Array.from(specialBytes(specials.get(name)!), (byte) => terms.bytes(byte, byte)));
    rest = rest.slice(first + name.length);
  }
  return terms.concat(...parts);
}

/** Any text in which another one does not occur. @param character any character. */
export function withoutTerm(terms: Terms, text: string, character: Term, specials: SpecialTokens): Term {
  const any = terms.repeat(character, 0, Number.POSITIVE_INFINITY);
  // Text has no special tokens.
  if ([...specials.keys()].some((name) => name !== '' && text.includes(name))) return any;
  return terms.and(any, terms.not(terms.concat(terms.all, terms.text(text), terms.all)));
}
