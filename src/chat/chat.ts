/**
 * @file Answers to messages: a model's chat template makes a prompt of them.
 */

import type { DecoderModel } from '../engine/model.ts';
import type { GenerateOptions } from '../engine/options.ts';
import { InputError } from '../util/errors.ts';
import { type ChatMessage, ChatTemplate, type RenderOptions } from './chat-template.ts';

/** How messages become a prompt. */
export interface TemplateOptions extends Omit<RenderOptions, 'addGenerationPrompt'> {
  /** A template in place of the model's own. */
  readonly template?: string | ChatTemplate;
}

export interface ChatOptions extends Omit<GenerateOptions, 'addSpecialTokens'>, TemplateOptions {}

/**
 * The template to use.
 * @throws InputError where there is none.
 */
export function templateOf(model: DecoderModel, { template }: TemplateOptions): ChatTemplate {
  if (template instanceof ChatTemplate) return template;
  if (template !== undefined) return new ChatTemplate(template, model.hasTokenizer ? model.tokenizer.config : {});
  if (model.chatTemplate) return model.chatTemplate;
  throw new InputError(
    `${model.name} has no chat template: it was probably not trained on conversations. Use its chat-tuned sibling, give a ` +
      'template (in Jinja) of your own, or write a plain prompt for generate',
  );
}

/** Where an answer ends: where the model does, and at the token that its tokenizer has for the end of a text. */
export function answerEnds(model: DecoderModel): readonly number[] {
  const own = model.hasTokenizer ? model.tokenizer.eosTokenId : null;
  return own === null ? model.eosTokenIds : [...new Set([...model.eosTokenIds, own])];
}

/** Messages as text and as ids, with the beginning of an answer at their end. */
export function chatPrompt(model: DecoderModel, messages: readonly ChatMessage[], options: TemplateOptions) {
  const text = templateOf(model, options).render(messages, options);
  return { text, tokens: model.tokenizer.encode(text, { addSpecialTokens: false }) };
}
