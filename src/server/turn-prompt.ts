/**
 * @file The prompt of a turn as token ids.
 */
import type { AnswerFormat } from '../chat/answers/formats.ts';
import { templateOf } from '../engine/messages.ts';
import type { TextModel } from '../engine/text-model.ts';
import type { Turn } from './turn.ts';

export interface TurnPrompt {
  readonly tokens: readonly number[];
  /** Some templates begin the thoughts of the answer. */
  readonly startsInReasoning: boolean;
}

/** @throws InputError for messages that the template does not take. */
export async function promptOf(
  model: TextModel,
  { input }: Pick<Turn, 'input'>,
  format: AnswerFormat | null,
): Promise<TurnPrompt> {
  if ('prompt' in input) {
    const { prompt } = input;
    const tokens = typeof prompt === 'string' ? await model.tokenizer.encode(prompt) : prompt;
    return { tokens, startsInReasoning: false };
  }
  const { messages, tools, variables } = input;
  const text = templateOf(model, {}).render(messages, { tools, variables });
  const start = format?.reasoning?.[0];
  return {
    tokens: await model.tokenizer.encode(text, { addSpecialTokens: false }),
    startsInReasoning: start !== undefined && text.trimEnd().endsWith(start),
  };
}
