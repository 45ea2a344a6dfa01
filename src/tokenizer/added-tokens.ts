/**
 * @file Tokens that are found in a text before anything else is done with it.
 */
import type { Json } from './fields.ts';
import type { Normalizer } from './normalizers.ts';

interface AddedToken {
  readonly id: number;
  readonly singleWord: boolean;
  /** Takes white space before it, and behind it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A part of a text: a token that was found, or what is between. */
export type TextPart = { readonly id: number } | { readonly text: string; readonly isFirst: boolean };

const SPACE = /\p{White_Space}/u;
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;

/** Finds the longest of some texts, from left to right. */
class Finder {
  readonly #byStart = new Map<string, [text: string, token: AddedToken][]>();
  readonly #pattern: RegExp | null;

  constructor(tokens: ReadonlyMap<string, AddedToken>) {
    for (const [content, token] of tokens) {
      const first = content[0];
      this.#byStart.set(first, [...(this.#byStart.get(first) ?? []), [content, token]]);
    }
    for (const list of this.#byStart.values()) list.sort(([a], [b]) => b.length - a.length);
    const starts = [...this.#byStart.keys()].map((char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
    this.#pattern = starts.length > 0 ? new RegExp(`[${starts.join('')}]`, 'g') : null;
  }

  /** Calls `found` for each token in the text, with where it starts and ends. */
  each(text: string, found: (token: AddedToken, start: number, end: number) => void): void {
    const pattern = this.#pattern;
    if (!pattern) return;
    pattern.lastIndex = 0;
    for (let start = pattern.exec(text); start; start = pattern.exec(text)) {
      const { index } = start;
      const match = this.#byStart.get(text[index])!.find(([content]) => text.startsWith(content, index));
      if (!match) continue;
      const end = index + match[0].length;
      pattern.lastIndex = end;
      if (!match[1].singleWord || isApart(text, index, end)) found(match[1], index, end);
    }
  }
}

function isApart(text: string, start: number, end: number): boolean {
  const before = start > 0 ? Array.from(text.slice(Math.max(0, start - 2), start)).at(-1)! : ' ';
  const behind = end < text.length ? String.fromCodePoint(text.codePointAt(end)!) : ' ';
  return !WORD.test(before) && !WORD.test(behind);
}

export class AddedTokens {
  readonly #raw: Finder;
  readonly #normalized: Finder;
  readonly #normalize: Normalizer;

  constructor(added: readonly Json[], normalize: Normalizer) {
    const raw = new Map<string, AddedToken>();
    const normalized = new Map<string, AddedToken>();
    for (const json of added) {
      const content = json['content'] as string;
      const token: AddedToken = {
        id: json['id'] as number,
        singleWord: json['single_word'] === true,
        lstrip: json['lstrip'] === true,
        rstrip: json['rstrip'] === true,
      };
      const isNormalized = json['normalized'] ?? json['special'] !== true;
      if (isNormalized !== true) raw.set(content, token);
      else if (normalize(content) !== '') normalized.set(normalize(content), token);
    }
    this.#raw = new Finder(raw);
    this.#normalized = new Finder(normalized);
    this.#normalize = normalize;
  }

  /** The parts of a text, normalized. */
  split(text: string): TextPart[] {
    return cut(text, this.#raw, true).flatMap((part) =>
      'id' in part ? [part] : cut(this.#normalize(part.text), this.#normalized, part.isFirst),
    );
  }
}

function cut(text: string, finder: Finder, isFirst: boolean): TextPart[] {
  const parts: TextPart[] = [];
  let last = 0;
  const between = (start: number): void => {
    if (start > last) parts.push({ text: text.slice(last, start), isFirst: isFirst && last === 0 });
  };
  finder.each(text, (token, from, to) => {
    let [start, end] = [from, to];
    if (start < last) return;
    if (token.lstrip) while (start > last && SPACE.test(text[start - 1])) start--;
    if (token.rstrip) while (end < text.length && SPACE.test(text[end])) end++;
    between(start);
    parts.push({ id: token.id });
    last = end;
  });
  between(text.length);
  return parts;
}
