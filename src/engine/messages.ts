/**
 * @file Messages as a prompt. What renders them, a chat template, is given by the layers above.
 */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { InputError } from '../util/errors.ts';
import { shown } from '../util/option-names.ts';

/** One message. Templates may look at more than role and content, such as `tool_calls`. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, `tool`, as the template knows them. */
  readonly role: string;
  /** The text of the message. */
  readonly content: string;
  readonly [key: string]: unknown;
}

/** What a template is given besides the messages. */
export interface RenderOptions {
  /**
   * End with the beginning of an answer.
   * @default true
   */
  readonly addGenerationPrompt?: boolean;
  /** Functions that the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /**
   * Which template, where there are several.
   * @default `tool_use` with tools, else `default`
   */
  readonly templateName?: string;
  /** Other variables of the template, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Makes one text of messages. */
export interface MessageTemplate {
  /** Names of the templates, where there are several. */
  readonly names?: readonly string[];
  /** Its texts by name, where it is written in Jinja. */
  readonly sources?: Readonly<Record<string, string>>;
  /** Messages as one text. @throws InputError for messages that it does not take. */
  render(messages: readonly ChatMessage[], options?: RenderOptions): string;
}

/** The chat template of a model, and how others are made. */
export interface MessageRenderer {
  /** null: the checkpoint has none. */
  readonly template: MessageTemplate | null;
  /** @param source in Jinja. @throws InputError */
  compile(source: string): MessageTemplate;
}

/** How messages become a prompt. */
export interface TemplateOptions extends Omit<RenderOptions, 'addGenerationPrompt'> {
  /**
   * A template, or its source in Jinja.
   * @default the model's own
   */
  readonly template?: string | MessageTemplate;
}

/** What of a model messages need. */
export interface ChatModel {
  readonly name: string;
  readonly renderer: MessageRenderer;
  readonly hasTokenizer: boolean;
  readonly tokenizer: Tokenizer;
  readonly eosTokenIds: readonly number[];
}

/** The template to use. @throws InputError where there is none. */
export function templateOf(
  { renderer, name }: Pick<ChatModel, 'renderer' | 'name'>,
  { template }: TemplateOptions,
): MessageTemplate {
  if (typeof template === 'string') return renderer.compile(template);
  if (template !== undefined) return template;
  if (renderer.template) return renderer.template;
  throw new InputError(
    `${name} has no chat template: it was probably not trained on conversations. Use its chat-tuned sibling, give a ` +
      'template (in Jinja) of your own, or write a plain prompt for generate',
  );
}

/** Tokens at which an answer ends: the model's, and the one that its tokenizer has for the end of a text. */
export function answerEnds(model: ChatModel): readonly number[] {
  const own = model.hasTokenizer ? model.tokenizer.eosTokenId : null;
  return own === null ? model.eosTokenIds : [...new Set([...model.eosTokenIds, own])];
}

/** @throws InputError for a message without a role, or whose content is of another type than templates know. */
function checkMessages(messages: readonly ChatMessage[]): void {
  for (const [i, message] of messages.entries()) {
    if (typeof message?.role !== 'string')
      throw new InputError(`message ${i} must be an object with a role, such as { role: 'user', content: 'Hello' }`);
    // Templates take null or nothing beside tool_calls, and arrays of parts.
    const content: unknown = message.content ?? '';
    if (typeof content !== 'string' && !Array.isArray(content))
      throw new InputError(`content of message ${i} must be a string, but is ${shown(content)}`);
  }
}

/** Messages as text and as ids, with the beginning of an answer at their end. @throws InputError */
export function messagesPrompt(model: ChatModel, messages: readonly ChatMessage[], options: TemplateOptions) {
  checkMessages(messages);
  const text = templateOf(model, options).render(messages, options);
  return { text, tokens: model.tokenizer.encode(text, { addSpecialTokens: false }) };
}

/**
 * The messages that were given to `chat`. A text would be read without the template, so that the model goes on with the
 * question in place of an answer.
 * @throws InputError for what is no list of messages.
 */
export function checkChat(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  if (Array.isArray(messages) && messages.every((message) => typeof message === 'object')) return messages;
  throw new InputError(
    `chat takes a list of messages, such as [{ role: 'user', content: 'Hello' }], but got ${shown(messages)}` +
      (typeof messages === 'string' ? '; generate goes on with a text' : ''),
  );
}
