/**
 * @file The events of an answer, put together.
 */
import type { TurnEnd, TurnEvent, TurnToken } from '../turn.ts';

/** A call of a tool. */
export interface AnswerCall {
  readonly type: 'call';
  readonly id: string;
  readonly name: string;
  /** JSON. It is a beginning of it where the answer was cut off within the call. */
  arguments: string;
}

export type AnswerPart =
  | { readonly type: 'text'; text: string }
  | { readonly type: 'reasoning'; text: string }
  | AnswerCall;

export interface Answer {
  /** Texts, thoughts and calls, in the order of the answer. */
  readonly parts: readonly AnswerPart[];
  readonly text: string;
  readonly reasoning: string;
  readonly calls: readonly AnswerCall[];
  /** Where log probabilities were asked for. */
  readonly tokens: readonly TurnToken[];
  readonly end: TurnEnd;
}

/** @param events of a turn, up to its end. */
export function answerOf(events: readonly TurnEvent[]): Answer {
  const parts: AnswerPart[] = [];
  const tokens: TurnToken[] = [];
  for (const event of events) {
    const last = parts.at(-1);
    if (event.type === 'text' || event.type === 'reasoning') {
      tokens.push(...(event.tokens ?? []));
      if (last?.type === event.type) last.text += event.text;
      else if (event.text !== '') parts.push({ type: event.type, text: event.text });
    } else if (event.type === 'call') parts.push({ type: 'call', id: event.id, name: event.name, arguments: '' });
    else if (event.type === 'arguments') (last as AnswerCall).arguments += event.text;
  }
  const textOf = (type: 'text' | 'reasoning') => parts.map((part) => (part.type === type ? part.text : '')).join('');
  return {
    parts,
    text: textOf('text'),
    reasoning: textOf('reasoning'),
    calls: parts.filter((part) => part.type === 'call'),
    tokens,
    end: events.at(-1) as TurnEnd,
  };
}
