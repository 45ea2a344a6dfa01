/**
 * @file Prompts of the AI SDK as messages for chat templates.
 */
import type { LanguageModelV3Message, LanguageModelV3ToolResultPart } from '@ai-sdk/provider';
import type { TurnMessage } from '../server/turn.ts';
import { InputError } from '../util/errors.ts';

type Assistant = Extract<LanguageModelV3Message, { role: 'assistant' }>;
type Output = LanguageModelV3ToolResultPart['output'];

/** @throws InputError for parts that are not text. */
export function messagesOf(prompt: readonly LanguageModelV3Message[]): TurnMessage[] {
  return prompt.flatMap(messageOf);
}

function messageOf(message: LanguageModelV3Message, i: number): TurnMessage[] {
  switch (message.role) {
    case 'system':
      return [{ role: 'system', content: message.content }];
    case 'user':
      return [{ role: 'user', content: message.content.map((part) => textOf(part, i)).join('') }];
    case 'assistant':
      return [assistantMessage(message, i)];
    case 'tool':
      return message.content.flatMap((part) => (part.type === 'tool-result' ? [resultMessage(part)] : []));
  }
}

function textOf(part: { readonly type: string; readonly text?: string }, i: number): string {
  if (part.type === 'text') return part.text!;
  throw new InputError(`message ${i} of the prompt has a part of type "${part.type}"; only texts are supported`);
}

function assistantMessage({ content }: Assistant, i: number): TurnMessage {
  let [text, reasoning] = ['', ''];
  const calls: unknown[] = [];
  for (const part of content) {
    if (part.type === 'reasoning') reasoning += part.text;
    else if (part.type === 'tool-call')
      // Templates want the arguments of a call as an object.
      calls.push({ id: part.toolCallId, type: 'function', function: { name: part.toolName, arguments: part.input } });
    else text += textOf(part, i);
  }
  return {
    role: 'assistant',
    content: text,
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

function resultMessage({ toolCallId, toolName, output }: LanguageModelV3ToolResultPart): TurnMessage {
  return { role: 'tool', tool_call_id: toolCallId, name: toolName, content: outputText(output) };
}

function outputText(output: Output): string {
  switch (output.type) {
    case 'text':
    case 'error-text':
      return output.value;
    case 'json':
    case 'error-json':
      return JSON.stringify(output.value);
    case 'execution-denied':
      return output.reason ?? 'The call was denied.';
    case 'content':
      return output.value
        .map((part) => {
          if (part.type === 'text') return part.text;
          throw new InputError(`the result of a tool has a part of type "${part.type}"; only texts are supported`);
        })
        .join('');
  }
}
