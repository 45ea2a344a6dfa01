/**
 * @file Chat templates: how a checkpoint wants messages written as one text (Jinja, as Hugging Face's).
 */
import type { ChatMessage, MessageTemplate, RenderOptions } from '../engine/messages.ts';
import { tokenText, tokenTexts } from '../tokenizer/check-json.ts';
import { checkArgument, checkText } from '../util/arguments.ts';
import { InputError, TokenizerError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { checkOptionNames, checkOptionsObject, type OptionNames, shown } from '../util/option-names.ts';
import { JinjaError, RaisedError } from './jinja/errors.ts';
import { Template } from './jinja/template.ts';
import { namedTemplates, type TemplateSources } from './template-sources.ts';

const SOURCES = { jinja: 'string', config: 'object', json: 'object' } as const satisfies OptionNames<TemplateSources>;

/** The chat template of a checkpoint: from messages to a prompt. */
export class ChatTemplate implements MessageTemplate {
  readonly #sources: ReadonlyMap<string, string>;
  readonly #parsed = new Map<string, Template>();
  readonly #specials: Readonly<Record<string, unknown>>;

  /**
   * Makes a template of its text. It is compiled when it is first rendered.
   * @param templates one, or several by their names.
   * @param tokenizerConfig the special tokens that templates may write.
   * @throws InputError for what is no template.
   */
  constructor(
    templates: string | Readonly<Record<string, string>>,
    tokenizerConfig: Readonly<Record<string, unknown>> = {},
  ) {
    const needed = 'a template as a string, or several by their names';
    const named: unknown = typeof templates === 'string' ? { default: templates } : templates;
    checkArgument('a ChatTemplate', needed, templates, isObject(named));
    for (const text of Object.values(named as object)) checkText('a ChatTemplate', needed, text);
    checkArgument('a ChatTemplate', 'tokenizer_config.json as an object', tokenizerConfig, isObject(tokenizerConfig));
    this.#sources = new Map(Object.entries(named as Readonly<Record<string, string>>));
    this.#specials = specialTokens(tokenizerConfig);
  }

  /**
   * The template of a checkpoint; null where it has none.
   * @throws TokenizerError for what is no template; InputError for sources of another type.
   */
  static of(sources: TemplateSources): ChatTemplate | null {
    checkOptionNames('ChatTemplate.of', sources, SOURCES, {}, 'source');
    const templates = namedTemplates(sources);
    return templates && new ChatTemplate(templates, sources.config);
  }

  /** The templates' texts in Jinja, by name. */
  get sources(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#sources);
  }

  /** Names of the templates; a single one is called `default`. */
  get names(): readonly string[] {
    return [...this.#sources.keys()];
  }

  /**
   * Messages as one text. It holds its special tokens, so none are to be added when it is encoded.
   * @throws InputError where the template refuses the messages; TokenizerError where it can't be read.
   */
  render(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    checkOptionsObject('render', options);
    const { addGenerationPrompt = true, tools, variables } = options;
    checkMessages(messages);
    const template = this.#template(this.#choose(options));
    try {
      return template.render({
        ...this.#specials,
        ...variables,
        messages,
        tools: tools ?? null,
        documents: variables?.['documents'] ?? null,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      if (!(cause instanceof JinjaError)) throw cause;
      const what = cause instanceof RaisedError ? 'does not take these messages' : 'fails on these messages';
      throw new InputError(`the chat template ${what}: ${cause.message}${otherContent(messages)}`, { cause });
    }
  }

  #choose({ templateName, tools }: RenderOptions): string {
    const name = templateName ?? (tools && this.#sources.has('tool_use') ? 'tool_use' : 'default');
    if (!this.#sources.has(name))
      throw new InputError(`there is no chat template named ${name}; there are ${this.names.join(', ')}`);
    return name;
  }

  #template(name: string): Template {
    const known = this.#parsed.get(name);
    if (known) return known;
    try {
      const parsed = new Template(this.#sources.get(name)!);
      this.#parsed.set(name, parsed);
      return parsed;
    } catch (cause) {
      throw new TokenizerError(`the chat template can't be read: ${(cause as Error).message}`, { cause });
    }
  }
}

/** Texts of special tokens, under the names that templates know them by. */
function specialTokens(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const key of ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token']) {
    const text = tokenText(config[key], key);
    if (text !== null) out[key] = text;
  }
  const more = tokenTexts(config['additional_special_tokens'], 'additional_special_tokens');
  if (more.length > 0) out['additional_special_tokens'] = more;
  return out;
}

/** Names a message whose content is no text, which few templates take: that is then the likely cause. */
function otherContent(messages: readonly ChatMessage[]): string {
  const at = messages.findIndex(({ content }) => typeof content !== 'string' && content !== undefined);
  if (at < 0) return '';
  return `; the content of message ${at} is ${shown(messages[at].content)}, and most templates take a text only`;
}

function checkMessages(messages: readonly ChatMessage[]): void {
  if (!Array.isArray(messages) || messages.length === 0)
    throw new InputError('a conversation needs messages: [{ role, content }, …]');
  messages.forEach((message: Partial<ChatMessage> | null, i) => {
    if (typeof message?.role !== 'string') throw new InputError(`message ${i} has no role, such as user`);
    if (message.content === undefined && Object.keys(message).length < 2)
      throw new InputError(`message ${i} (${message.role}) has no content`);
  });
}
