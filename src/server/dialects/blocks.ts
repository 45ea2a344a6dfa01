/**
 * @file The events of an answer as blocks that do not overlap: texts, thoughts, calls. Texts of white space alone are
 * no blocks.
 */
import type { ChoiceEvent, TurnEnd } from '../turn.ts';
import type { AnswerPart } from './answer.ts';

export type BlockEvent =
  /** `part` has no content yet. */
  | { readonly type: 'start'; readonly index: number; readonly part: AnswerPart }
  | { readonly type: 'delta'; readonly index: number; readonly part: AnswerPart; readonly text: string }
  /** `part` is whole. */
  | { readonly type: 'stop'; readonly index: number; readonly part: AnswerPart }
  | { readonly type: 'end'; readonly end: TurnEnd };

export async function* blocksOf(events: AsyncIterable<ChoiceEvent>): AsyncGenerator<BlockEvent, void, undefined> {
  let index = -1;
  let part: AnswerPart | null = null;
  /** White space at the beginning of a block, which may come to nothing. */
  let held = '';
  const stop = (): BlockEvent[] => {
    held = '';
    const stopped = part;
    part = null;
    return stopped ? [{ type: 'stop', index, part: stopped }] : [];
  };
  const start = (next: AnswerPart): BlockEvent => {
    part = next;
    return { type: 'start', index: ++index, part: { ...next } };
  };
  const add = (text: string): BlockEvent => {
    if (part!.type === 'call') part!.arguments += text;
    else part!.text += text;
    return { type: 'delta', index, part: part!, text };
  };
  for await (const { event } of events) {
    if (event.type === 'end') {
      yield* stop();
      yield { type: 'end', end: event };
    } else if (event.type === 'call') {
      yield* stop();
      yield start({ type: 'call', id: event.id, name: event.name, arguments: '' });
    } else if (event.type === 'arguments') yield add(event.text);
    else if (event.type !== 'prompt') {
      if ((part as AnswerPart | null)?.type !== event.type) {
        yield* stop();
        held += event.text;
        if (held.trim() === '') continue;
        yield start({ type: event.type, text: '' });
        yield add(held);
        held = '';
      } else if (event.text !== '') yield add(event.text);
    }
  }
}

/** Parts without texts of white space. */
export const blocksIn = (parts: readonly AnswerPart[]): readonly AnswerPart[] =>
  parts.filter((part) => part.type === 'call' || part.text.trim() !== '');
