/**
 * @file Where a checkpoint has its chat templates.
 */
import { TokenizerError } from '../util/errors.ts';

/** Where templates may stand. */
export interface TemplateSources {
  /** chat_template.jinja, which goes before the other. */
  readonly jinja?: string | undefined;
  /** tokenizer_config.json: `chat_template` is a template, or a list of them with names. */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  /** chat_template.json, as some processors have it. */
  readonly json?: Readonly<Record<string, unknown>> | undefined;
}

/** Templates by name. */
export type NamedTemplates = Readonly<Record<string, string>>;

/**
 * The templates of a checkpoint; null where it has none.
 * @throws TokenizerError for what is no template.
 */
export function namedTemplates({ jinja, config = {}, json }: TemplateSources): NamedTemplates | null {
  const stated = config['chat_template'] ?? json?.['chat_template'] ?? null;
  const named = Array.isArray(stated) ? templatesOf(stated) : {};
  if (jinja !== undefined) return { ...named, default: jinja };
  if (stated === null) return null;
  if (typeof stated === 'string') return { default: stated };
  if (!Array.isArray(stated))
    throw new TokenizerError('tokenizer_config.json: chat_template must be a text, or a list of templates with names');
  return named;
}

function templatesOf(list: readonly unknown[]): Record<string, string> {
  return Object.fromEntries(
    list.map((entry, i) => {
      const { name, template } = (entry ?? {}) as Readonly<Record<string, unknown>>;
      if (typeof name !== 'string' || typeof template !== 'string')
        throw new TokenizerError(`tokenizer_config.json: chat_template[${i}] must have a name and a template`);
      return [name, template];
    }),
  );
}
