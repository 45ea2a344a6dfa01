/**
 * @file The text of a generation as the events of an answer: text, thoughts and calls of tools.
 */
import type { AnswerParser, AnswerPart } from '../chat/answers/parser.ts';
import type { GenerationResult } from '../engine/options.ts';
import type { TextTokenizer } from '../engine/text-model.ts';
import type { TextRun } from '../engine/text-run.ts';
import { likelyTokens } from './likely-token.ts';
import { randomId } from './random-id.ts';
import type { TurnEnd, TurnEvent } from './turn.ts';

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

/** What came of an answer. */
export interface AnswerOutcome {
  readonly finish: TurnEnd['finish'];
  readonly reasoningTokens: number;
  readonly result: GenerationResult;
}

/** The events of an answer, without its end. */
export async function* answerEvents(
  run: TextRun,
  { parser, singleCall, endsAfterCall, tokenizer }: AnswerReading,
): AsyncGenerator<TurnEvent, AnswerOutcome, undefined> {
  // Calls that began, those that are not wanted included.
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
  const result = run.partial!;
  // A call may be cut off where its form is enforced.
  const finish = result.finishReason === 'length' ? 'length' : calls > 0 ? 'tool-calls' : 'stop';
  return { finish, reasoningTokens, result };
}

/** An answer of no token: of a run of one, which computes the prompt, nothing is told but that. */
export async function emptyAnswer(run: TextRun): Promise<AnswerOutcome> {
  const { stopString: _, usage, ...rest } = await run.result();
  return { finish: 'length', reasoningTokens: 0, result: { ...rest, usage: { ...usage, completionTokens: 0 } } };
}
