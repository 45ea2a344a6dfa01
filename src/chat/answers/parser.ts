/**
 * @file Takes an answer apart while it is being written: text, thoughts, and calls of tools.
 */
import type { AnswerFormat } from './formats.ts';

/** A call of a tool. */
export interface ToolCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

export type AnswerPart =
  | { readonly type: 'text' | 'reasoning'; readonly text: string }
  | { readonly type: 'tool-call'; readonly call: ToolCall };

/**
 * Gives the parts of an answer as soon as they are certain. However the answer is cut into pieces, the parts are the same, but for
 * where texts and thoughts are cut. What looks like a call and is none stays text, with its markers.
 */
export class AnswerParser {
  readonly #format: AnswerFormat;
  #state: 'text' | 'reasoning' | 'call';
  /** What is not certain yet; in a call all of it, without its start. */
  #held = '';
  /** Up to where an end of the call was searched for. */
  #searched = 0;

  /** @param startsInReasoning the prompt ends within thoughts, as templates of models that always think do. */
  constructor(format: AnswerFormat, startsInReasoning = false) {
    this.#format = format;
    this.#state = startsInReasoning && format.reasoning ? 'reasoning' : 'text';
  }

  /** The next piece of the answer. */
  push(text: string): AnswerPart[] {
    this.#held += text;
    const parts: AnswerPart[] = [];
    while (this.#step(parts));
    return parts;
  }

  /** The answer has ended. */
  end(): AnswerPart[] {
    const parts: AnswerPart[] = [];
    const [start, end] = this.#format.call;
    if (this.#state === 'call') {
      const calls = end === '' ? readCalls(this.#held) : null;
      if (calls) parts.push(...calls.map((call) => ({ type: 'tool-call', call }) as const));
      else parts.push({ type: 'text', text: start + this.#held });
    } else if (this.#held !== '') parts.push({ type: this.#state, text: this.#held });
    this.#held = '';
    return parts;
  }

  /** Takes the next certain part; false where more text is needed. */
  #step(parts: AnswerPart[]): boolean {
    const { reasoning, call } = this.#format;
    if (this.#state === 'call') return this.#stepInCall(parts);
    const markers = this.#state === 'text' ? [call[0], ...(reasoning ? [reasoning[0]] : [])] : [reasoning![1]];
    const found = markers
      .map((marker) => ({ marker, at: this.#held.indexOf(marker) }))
      .filter(({ at }) => at >= 0)
      .sort((a, b) => a.at - b.at)[0];
    if (!found) {
      const certain = this.#held.length - Math.max(...markers.map((marker) => overlap(this.#held, marker)));
      this.#give(parts, this.#held.slice(0, certain));
      this.#held = this.#held.slice(certain);
      return false;
    }
    this.#give(parts, this.#held.slice(0, found.at));
    this.#held = this.#held.slice(found.at + found.marker.length);
    this.#searched = 0;
    this.#state = this.#state === 'reasoning' ? 'text' : found.marker === call[0] ? 'call' : 'reasoning';
    return true;
  }

  /** An end within a text of the call's JSON is none: there the JSON is not complete. */
  #stepInCall(parts: AnswerPart[]): boolean {
    const [, end] = this.#format.call;
    if (end === '') return false;
    for (let at = this.#held.indexOf(end, this.#searched); at >= 0; at = this.#held.indexOf(end, at + 1)) {
      const calls = readCalls(this.#held.slice(0, at));
      this.#searched = at + 1;
      if (!calls) continue;
      parts.push(...calls.map((call) => ({ type: 'tool-call', call }) as const));
      this.#held = this.#held.slice(at + end.length);
      this.#state = 'text';
      return true;
    }
    this.#searched = Math.max(this.#searched, this.#held.length - end.length + 1);
    return false;
  }

  #give(parts: AnswerPart[], text: string): void {
    if (text !== '' && this.#state !== 'call') parts.push({ type: this.#state, text });
  }
}

/** Length of the longest end of a text that is a beginning of the marker, and not all of it. */
function overlap(text: string, marker: string): number {
  for (let length = Math.min(text.length, marker.length - 1); length > 0; length--)
    if (text.endsWith(marker.slice(0, length))) return length;
  return 0;
}

/** The calls that a text of JSON holds; null where it is no call. */
function readCalls(text: string): ToolCall[] | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  const list: readonly unknown[] = Array.isArray(json) ? json : [json];
  const calls = list.map(readCall);
  return calls.length > 0 && calls.every((call) => call !== null) ? calls : null;
}

function readCall(value: unknown): ToolCall | null {
  if (typeof value !== 'object' || value === null) return null;
  const { name, arguments: given, parameters } = value as Readonly<Record<string, unknown>>;
  const args = given ?? parameters ?? {};
  if (typeof name !== 'string' || name === '' || typeof args !== 'object' || args === null || Array.isArray(args))
    return null;
  return { name, arguments: args as Readonly<Record<string, unknown>> };
}
