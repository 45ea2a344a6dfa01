/**
 * @file How a model renders messages. The interpreter of Jinja is loaded with the first model that needs it: pages of
 * other models do without 19 kB.
 */
import type { MessageRenderer, MessageTemplate } from '../engine/messages.ts';
import { InputError } from '../util/errors.ts';
import type { NamedTemplates } from './template-sources.ts';

/** The interpreter of templates. */
export const loadTemplates = () => import('./chat-template.ts');

/** The renderer of a model with these templates. @param tokenizerConfig the special tokens that templates may write. */
export async function loadRenderer(
  templates: NamedTemplates | null,
  tokenizerConfig: Readonly<Record<string, unknown>>,
): Promise<MessageRenderer> {
  const { ChatTemplate } = await loadTemplates();
  return {
    template: templates && new ChatTemplate(templates, tokenizerConfig),
    compile: (source) => new ChatTemplate(source, tokenizerConfig),
  };
}

/** A template of a request. */
export async function compileTemplate(
  source: string,
  tokenizerConfig: Readonly<Record<string, unknown>>,
): Promise<MessageTemplate> {
  return (await loadRenderer(null, tokenizerConfig)).compile(source);
}

/**
 * As {@link loadRenderer}, for models whose requests hold no templates as texts: without templates Jinja is not loaded.
 */
export async function loadOwnRenderer(
  templates: NamedTemplates | null,
  tokenizerConfig: Readonly<Record<string, unknown>>,
): Promise<MessageRenderer> {
  if (templates) return loadRenderer(templates, tokenizerConfig);
  const compile = () => {
    throw new InputError('templates as texts are compiled before they come here');
  };
  return { template: null, compile };
}
