/**
 * @file The small model with a chat template, and answers that a test may choose: the engine generates them under a
 * regular expression that matches nothing else, because a model of this size calls no tools by itself.
 */
import type { ChatMessage, MessageTemplate } from '../../src/engine/messages.ts';
import type { LanguageModel } from '../../src/node.ts';
import { loadChatModel } from './served.ts';

/** Asks for Hermes' form of calls and thoughts. */
const TEMPLATE =
  '{% for m in messages %}{{ m.role }}: {% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}{% for c in m.tool_calls %}<tool_call>{{ c | tojson }}</tool_call>{% endfor %}\n' +
  '{% endfor %}assistant:';

/** The answer to these messages; null: what the model says by itself. */
export type Script = (messages: readonly ChatMessage[]) => string | null;

export async function scriptedModel(script: Script): Promise<LanguageModel> {
  const model = await loadChatModel(TEMPLATE);
  const { template } = model.renderer;
  /** Answers by the tokens of their prompts. */
  const answers = new Map<string, string>();
  const render: MessageTemplate['render'] = (messages, options) => {
    const text = template!.render(messages, options);
    const answer = script(messages);
    if (answer !== null) answers.set(model.tokenizer.encode(text, { addSpecialTokens: false }).join(), answer);
    return text;
  };
  const generate: LanguageModel['generate'] = (prompt, options) => {
    const answer = answers.get(Array.isArray(prompt) ? prompt.join() : '');
    if (answer === undefined) return own(prompt, options);
    const pattern = answer.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    return own(prompt, { ...options, format: { type: 'regex', pattern } });
  };
  const own = model.generate.bind(model);
  // The server looks for the format of calls in the sources.
  const scripted = { sources: { default: TEMPLATE }, render };
  return Object.assign(model, { renderer: { ...model.renderer, template: scripted }, generate });
}
