/**
 * @file The text of a generation as the events of an answer: text, thoughts and calls of tools.
 */
import type { AnswerParser, AnswerPart } from '../chat/answers/parser.ts';
import type { TextChunk } from '../engine/options.ts';
import type { TextTokenizer } from '../engine/text-model.ts';
import { likelyTokens } from './likely-token.ts';
import { randomId } from './random-id.ts';
import type { TurnEvent } from './turn.ts';

/** How an answer is read. */
export interface AnswerReading {
  /** Tells text, thoughts and calls apart; null: all is text. */
  readonly parser: AnswerParser | null;
  /** Only the first call is wanted. */
  readonly singleCall: boolean;
  /** What follows the first call is not generated. */
  readonly endsAfterCall: boolean;
  /** Names tokens for log probabilities, which come with the text as it is; null: they are not wanted. */
  readonly tokenizer: TextTokenizer | null;
}

/** What an answer has. */
export interface AnswerCounts {
  /** Calls that began, those that are not wanted included. */
  readonly calls: number;
  readonly reasoningTokens: number;
}

/** The events of an answer, without its end. */
export async function* answerEvents(
  run: AsyncIterable<TextChunk>,
  { parser, singleCall, endsAfterCall, tokenizer }: AnswerReading,
): AsyncGenerator<TurnEvent, AnswerCounts, undefined> {
  let [calls, reasoningTokens] = [0, 0];
  const eventsOf = function* (parts: readonly AnswerPart[]): Generator<TurnEvent> {
    for (const part of parts) {
      if (part.type === 'call') calls++;
      if (singleCall && calls > 1) return;
      yield part.type === 'call' ? { ...part, id: `call_${randomId(9)}` } : part;
    }
  };
  const isOver = () => endsAfterCall && calls > 0;
  for await (const { text, tokens } of run) {
    if (parser?.inReasoning) reasoningTokens += tokens.length;
    if (tokenizer) yield { type: 'text', text, tokens: await likelyTokens(tokenizer, tokens) };
    else if (parser) yield* eventsOf(parser.push(text));
    else if (text !== '') yield { type: 'text', text };
    if (isOver()) break;
  }
  if (parser && !tokenizer && !isOver()) yield* eventsOf(parser.end());
  return { calls, reasoningTokens };
}
