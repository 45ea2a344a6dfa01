/**
 * @file The small model with a chat template, and answers that a test may choose: the engine generates them under a regular expression
 * that matches nothing else, because a model of this size calls no tools by itself.
 */
import type { ChatMessage } from '../../src/engine/messages.ts';
import { ChatTemplate } from '../../src/exports/checkpoint.ts';
import { type LanguageModel, loadModel, type TextModel } from '../../src/node.ts';

/** Asks for Hermes' form of calls and thoughts. */
const TEMPLATE =
  '{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls %}<tool_call>{{ c | tojson }}</tool_call>{% endfor %}\n' +
  '{% endfor %}assistant:';

/** The answer to these messages; null: what the model says by itself. */
export type Script = (messages: readonly ChatMessage[]) => string | null;

export async function scriptedModel(script: Script): Promise<TextModel> {
  const model = await loadModel();
  // The small model was not trained on conversations.
  Object.assign(model, { renderer: { ...model.renderer, template: new ChatTemplate(TEMPLATE, {}) } });
  const chat: LanguageModel['chat'] = (messages, options = {}) => {
    const text = script(messages);
    if (text === null) return model.chat(messages, options);
    return model.chat(messages, {
      ...options,
      format: { type: 'regex', pattern: text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&') },
    });
  };
  return new Proxy(model, {
    get(target, key) {
      if (key === 'chat') return chat;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
