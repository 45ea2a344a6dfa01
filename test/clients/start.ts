/**
 * @file The server that the tests of clients talk to: the small model, with answers for what it can't say by itself.
 */
import type { ChatMessage } from '../../src/engine/messages.ts';
import { type RunningServer, type ServedModel, serve } from '../../src/exports/server.ts';
import { scriptedModel } from '../support/scripted-model.ts';
import { servedModel } from '../support/served.ts';

export const KEY = 'secret';

/** What the tests ask for. Other questions are answered by the model itself. */
export const QUESTIONS = {
  weather: 'Weather in Paris?',
  twice: 'Weather in Paris and Rome?',
  think: 'Think, then answer.',
};
export const ANSWERS = { weather: 'It is sunny.', thought: 'Let me see', think: 'Yes.' };

const call = (city: string) => `<tool_call>{"name": "weather", "arguments": {"city": "${city}"}}</tool_call>`;

function script(messages: readonly ChatMessage[]): string | null {
  const last = messages.at(-1)!;
  if (last.role === 'tool') return ANSWERS.weather;
  if (last.content === QUESTIONS.weather) return call('Paris');
  if (last.content === QUESTIONS.twice) return `Both: ${call('Paris')}${call('Rome')}`;
  if (last.content === QUESTIONS.think) return `<think>${ANSWERS.thought}</think>${ANSWERS.think}`;
  return null;
}

export interface TestServer {
  readonly url: string;
  readonly served: ServedModel;
  close(): Promise<void>;
}

export async function startServer(): Promise<TestServer> {
  const model = await scriptedModel(script);
  const { one: served } = servedModel(model, {
    cacheClasses: [{ name: 'default', options: { policy: 'dense', cacheLength: 1024 } }],
    maxTokens: 256,
  });
  const server: RunningServer = await serve({ models: [served], port: 0, apiKeys: [KEY] });
  return {
    url: server.url,
    served,
    async close() {
      await server.close();
      await model.dispose();
    },
  };
}
