/**
 * @file Takes an answer apart while it is being written: text, thoughts, and calls of tools.
 */

import { checkHas, checkText } from '../../util/arguments.ts';
import { checkOptionsObject } from '../../util/option-names.ts';
import { readCalls, type ToolSchemas } from './bodies.ts';
import type { AnswerFormat, CallStart } from './formats.ts';
import { WrittenCalls } from './written-calls.ts';

/** A part of an answer: text, reasoning, or a call of a function. */
export type AnswerPart =
  | { readonly type: 'text' | 'reasoning'; readonly text: string }
  /** A call begins. */
  | { readonly type: 'call'; readonly name: string }
  /** The next piece of the JSON of its arguments. */
  | { readonly type: 'arguments'; readonly text: string };

/** What an answer may hold. */
export interface AnswerParserOptions {
  /** The prompt ends within thoughts, as templates of models that always think do. @default false */
  readonly startsInReasoning?: boolean;
  /** The tools that there are. Calls of others stay text. @default any name is one of a tool */
  readonly tools?: ToolSchemas | null;
  /**
   * A grammar enforces the form of calls (`write` of the format), so that they are given piece by piece. @default false
   */
  readonly enforced?: boolean;
}

interface Marker {
  readonly text: string;
  readonly call?: CallStart;
  readonly to?: 'text' | 'reasoning';
}

/**
 * Gives the parts of an answer as soon as they are certain. However the answer is cut into pieces, the parts are the
 * same, but for where texts, thoughts and arguments are cut. What looks like a call and is none stays text, with its
 * markers.
 */
export class AnswerParser {
  readonly #format: AnswerFormat;
  readonly #tools: ToolSchemas | null;
  readonly #enforced: boolean;
  #state: 'text' | 'reasoning' | 'call';
  /** What is not certain yet; in a call all of it, with its start. */
  #held = '';
  /** The start of the call. */
  #start: CallStart | null = null;
  /** Up to where an end of the call was searched for. */
  #searched = 0;
  #written: WrittenCalls | null = null;
  #ended = false;
  /** Nothing but white space came before. */
  #first = true;

  /** @throws InputError for what is no format, such as the null of a template without one, and for wrong options. */
  constructor(format: AnswerFormat, options: AnswerParserOptions = {}) {
    checkHas('an AnswerParser', 'a format, as answerFormatOf gives it', format, 'template');
    checkOptionsObject('an AnswerParser', options);
    this.#format = format;
    this.#tools = options.tools ?? null;
    this.#enforced = (options.enforced ?? false) && format.call?.write != null;
    this.#state = options.startsInReasoning && format.reasoning ? 'reasoning' : 'text';
  }

  /** Whether what comes next is thoughts. */
  get inReasoning(): boolean {
    return this.#state === 'reasoning';
  }

  /** The next piece of the answer. @throws InputError for what is no text. */
  push(text: string): AnswerPart[] {
    checkText('an AnswerParser', 'pieces of text', text);
    this.#held += text;
    const parts: AnswerPart[] = [];
    while (this.#step(parts));
    return parts;
  }

  /** The answer has ended. */
  end(): AnswerPart[] {
    const parts: AnswerPart[] = [];
    this.#ended = true;
    while (this.#step(parts));
    if (this.#state !== 'call') this.#give(parts, this.#held);
    else if (this.#written) {
      const { unnamed } = this.#written;
      if (unnamed !== '') parts.push({ type: 'text', text: unnamed });
    } else if (!this.#giveCalls(parts, this.#held)) parts.push({ type: 'text', text: this.#held });
    this.#held = '';
    return parts;
  }

  /** Takes the next certain part; false where more text is needed. */
  #step(parts: AnswerPart[]): boolean {
    if (this.#state === 'call') return this.#written ? this.#stepInWritten(parts) : this.#stepInCall(parts);
    const markers = this.#markers();
    let found: { readonly marker: Marker; readonly index: number } | null = null;
    for (const marker of markers) {
      const index = this.#indexOf(marker);
      if (
        index < 0 ||
        (found && (index > found.index || (index === found.index && marker.text.length < found.marker.text.length)))
      )
        continue;
      found = { marker, index };
    }
    // A longer marker may begin where the one that was found does, or before it.
    const open = this.#ended ? 0 : Math.max(0, ...markers.map(({ text }) => overlap(this.#held, text)));
    if (!found || (open > 0 && this.#held.length - open <= found.index)) {
      const certain = this.#certain(this.#held.length - open);
      this.#give(parts, this.#held.slice(0, certain));
      this.#held = this.#held.slice(certain);
      return false;
    }
    const { marker, index } = found;
    this.#give(parts, this.#held.slice(0, index));
    this.#held = this.#held.slice(marker.call ? index : index + marker.text.length);
    if (marker.call) {
      this.#start = marker.call;
      this.#searched = marker.text.length;
      this.#state = 'call';
      this.#first = false;
      if (this.#enforced) {
        this.#written = new WrittenCalls(this.#format.call!.write!);
        this.#stepInWritten(parts);
      }
    } else if (marker.to) this.#state = marker.to;
    return true;
  }

  /** What may come next and means something. */
  #markers(): readonly Marker[] {
    const { reasoning, call, dropped = [] } = this.#format;
    if (this.#state === 'reasoning') return [{ text: reasoning![1], to: 'text' }];
    return [
      ...(call?.starts ?? [])
        .filter(({ first }) => !first || this.#first)
        .map((start) => ({ text: start.text, call: start })),
      ...(reasoning ? [{ text: reasoning[0], to: 'reasoning' as const }] : []),
      ...dropped.map((text) => ({ text })),
    ];
  }

  #indexOf({ text, call }: Marker): number {
    const index = this.#held.indexOf(text);
    // A call that counts at the beginning only.
    return call?.first && this.#held.slice(0, Math.max(index, 0)).trim() !== '' ? -1 : index;
  }

  /** White space at the beginning is held back while a call may follow it. */
  #certain(length: number): number {
    const waits = !this.#ended && this.#first && this.#format.call?.starts.some(({ first }) => first);
    return waits && this.#held.slice(0, length).trim() === '' ? 0 : length;
  }

  #stepInWritten(parts: AnswerPart[]): boolean {
    const written = this.#written!;
    parts.push(...written.push(this.#held));
    this.#held = written.rest ?? '';
    if (written.rest === null) return false;
    this.#written = null;
    this.#state = 'text';
    return true;
  }

  /** An end within a text of the call is none: there the call is not complete. */
  #stepInCall(parts: AnswerPart[]): boolean {
    const { end, starts } = this.#format.call!;
    const ends = end === '' ? starts.filter(({ first }) => !first).map(({ text }) => text) : [end];
    for (;;) {
      const found = ends
        .map((text) => ({ text, index: this.#held.indexOf(text, this.#searched) }))
        .filter(({ index }) => index >= 0);
      const next = found.sort((a, b) => a.index - b.index)[0];
      if (!next) break;
      if (this.#giveCalls(parts, this.#held.slice(0, next.index))) {
        // The start of the next call is read again.
        this.#held = this.#held.slice(end === '' ? next.index : next.index + end.length);
        this.#state = 'text';
        return true;
      }
      this.#searched = next.index + 1;
    }
    const longest = Math.max(0, ...ends.map(({ length }) => length));
    this.#searched = Math.max(this.#searched, this.#held.length - longest + 1);
    return false;
  }

  /** @param text a call with its start. */
  #giveCalls(parts: AnswerPart[], text: string): boolean {
    const { text: start, first } = this.#start!;
    const calls = readCalls(this.#format.call!.body, first ? text : text.slice(start.length), this.#tools);
    for (const { name, arguments: args } of calls ?? [])
      parts.push({ type: 'call', name }, { type: 'arguments', text: JSON.stringify(args) });
    return calls !== null;
  }

  #give(parts: AnswerPart[], text: string): void {
    if (text === '' || this.#state === 'call') return;
    parts.push({ type: this.#state, text });
    if (this.#state === 'text' && text.trim() !== '') this.#first = false;
  }
}

/** Length of the longest end of a text that is a beginning of the marker, and not all of it. */
function overlap(text: string, marker: string): number {
  for (let length = Math.min(text.length, marker.length - 1); length > 0; length--)
    if (text.endsWith(marker.slice(0, length))) return length;
  return 0;
}
