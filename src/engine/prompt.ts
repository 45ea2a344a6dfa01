/**
 * @file The start of a generation: its cache, and the token ids of its prompt.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { checkArgument } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { checkOptionsObject, isList, shown } from '../util/option-names.ts';
import type { ChatMessage } from './messages.ts';
import type { DecoderModel } from './model.ts';
import type { GenerateOptions, Prompt, SequenceRequest } from './options.ts';
import { checkIdTypes } from './schedule/prefill.ts';

/** The cache that was given, or a new one. @throws InputError for options that the policy refuses. */
export function resolveCache(model: DecoderModel, cache: GenerateOptions['cache']): KVCache {
  if (cache !== undefined && !('append' in cache) && 'tokens' in cache)
    throw new InputError('this cache belongs to a model in a worker, and this model is not in one');
  return cache !== undefined && 'append' in cache ? cache : model.createCache(cache);
}

/** @throws InputError for what is no cache of a model in this thread. */
export function checkCache(what: string, cache: unknown): void {
  checkArgument(what, 'a cache, as createCache gives it', cache, isObject(cache) && 'append' in cache);
}

/** The options of a cache that is to be made; undefined where it is there already. */
export function optionsOf(cache: GenerateOptions['cache']): Partial<AnyCacheOptions> | undefined {
  return cache !== undefined && !('append' in cache) && !('tokens' in cache) ? cache : undefined;
}

/** The ids of a prompt. @throws InputError where there are none. */
export function promptTokens(
  model: DecoderModel,
  prompt: string | readonly number[],
  options: Pick<GenerateOptions, 'addSpecialTokens' | 'reusePrefix'>,
  cache: KVCache,
): readonly number[] {
  const addSpecialTokens =
    options.addSpecialTokens ?? (options.reusePrefix || (cache.length() === 0 && cache.pending().length === 0));
  if (typeof prompt !== 'string' && !isList(prompt))
    throw new InputError(`a prompt must be a string, token ids, or messages, but is ${shown(prompt)}`);
  if (typeof prompt !== 'string') checkIdTypes(prompt);
  const tokens = typeof prompt === 'string' ? model.tokenizer.encode(prompt, { addSpecialTokens }) : [...prompt];
  if (tokens.length === 0) throw new InputError('the prompt is empty: there is no token to go on from');
  return tokens;
}

/** What was given as a prompt, as a request. @throws InputError for options that are no object. */
export function requestOf(prompt: Prompt, options: GenerateOptions): SequenceRequest {
  checkOptionsObject('generate', options);
  const isMessages = (list: Prompt): list is readonly ChatMessage[] =>
    Array.isArray(list) && list.length > 0 && typeof list[0] === 'object';
  return isMessages(prompt) ? { ...options, messages: prompt } : { ...options, prompt };
}
