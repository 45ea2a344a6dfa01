/**
 * @file The prompt of a turn as token ids.
 */
import type { AnswerFormat } from '../chat/answers/formats.ts';
import { templateOf } from '../engine/messages.ts';
import type { TextModel } from '../engine/text-model.ts';
import type { Turn } from './turn.ts';

export interface TurnPrompt {
  readonly tokens: readonly number[];
  /** Whether the answer may begin with thoughts. Some templates begin them, and some write that there are none. */
  readonly thinks: 'never' | 'maybe' | 'begun';
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
    return { tokens, thinks: 'never' };
  }
  const { messages, tools, variables } = input;
  const text = templateOf(model, {}).render(messages, { tools, variables });
  const tokens = await model.tokenizer.encode(text, { addSpecialTokens: false });
  const [start, end] = format?.reasoning ?? [];
  const tail = text.trimEnd();
  if (start === undefined || tail.endsWith(end!)) return { tokens, thinks: 'never' };
  return { tokens, thinks: tail.endsWith(start) ? 'begun' : 'maybe' };
}
