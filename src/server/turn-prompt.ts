/**
 * @file The prompt of a turn as token ids.
 */
import type { AnswerFormat } from '../chat/answers/formats.ts';
import { templateOf } from '../engine/messages.ts';
import type { TextModel } from '../engine/text-model.ts';
import { HttpError } from './http-error.ts';
import type { Turn } from './turn.ts';

export interface TurnPrompt {
  readonly tokens: readonly number[];
  /** Whether the answer may begin with thoughts. Some templates begin them, and some write that there are none. */
  readonly thinks: 'never' | 'maybe' | 'begun';
}

/** Messages to answer, as all protocols give them. */
export type MessagesInput = Extract<Turn['input'], { readonly messages: unknown }>;

/**
 * The text that the chat template makes of messages.
 * @throws InputError for messages that the template does not take; HttpError where there is none.
 */
export function renderedPrompt(
  model: TextModel,
  { input, addGenerationPrompt }: { readonly input: MessagesInput; readonly addGenerationPrompt?: boolean },
): string {
  const { messages, tools, variables } = input;
  // The library's own message is for programs, and names files of this machine.
  if (!model.renderer.template)
    throw new HttpError(400, 'messages: this model has no chat template; POST /v1/completions goes on with a text', {
      param: 'messages',
    });
  return templateOf(model, {}).render(messages, { tools, variables, addGenerationPrompt });
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
  const text = renderedPrompt(model, { input });
  const tokens = await model.tokenizer.encode(text, { addSpecialTokens: false });
  const [start, end] = format?.reasoning ?? [];
  const tail = text.trimEnd();
  if (start === undefined || tail.endsWith(end!)) return { tokens, thinks: 'never' };
  return { tokens, thinks: tail.endsWith(start) ? 'begun' : 'maybe' };
}
