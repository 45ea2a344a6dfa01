/**
 * @file The names of all options of requests, so that others are refused.
 */
import { InputError } from '../util/errors.ts';
import { checkOptionNames, type OptionNames, shown } from '../util/option-names.ts';
import type { BatchOptions, BatchRequest, ScoreOptions, SequenceRequest } from './options.ts';
import type { SpeculateOptions } from './speculate/drafter.ts';

const REQUEST: OptionNames<SequenceRequest & BatchRequest> = {
  id: true,
  prompt: true,
  messages: 'list',
  addSpecialTokens: 'boolean',
  cache: 'object',
  reusePrefix: 'boolean',
  chunkLength: 'number',
  adapters: true,
  speculate: true,
  signal: 'signal',
  onPrefill: 'function',
  template: true,
  tools: 'list',
  templateName: 'string',
  variables: 'object',
  maxNewTokens: 'number',
  stop: 'strings',
  keepSpecialTokens: 'list',
  eosTokenIds: 'list',
  topLogprobs: 'number',
  temperature: 'number',
  topK: 'number',
  topP: 'number',
  minP: 'number',
  repetitionPenalty: 'number',
  frequencyPenalty: 'number',
  generationConfig: 'boolean',
  presencePenalty: 'number',
  logitBias: 'object',
  bannedTokens: 'list',
  processors: 'list',
  format: 'object',
  seed: 'number',
};
const BATCH: OptionNames<BatchOptions> = { ...REQUEST, batchSize: 'number' };
const SCORE: OptionNames<ScoreOptions> = {
  addSpecialTokens: 'boolean',
  adapters: true,
  cache: 'object',
  chunkLength: 'number',
  signal: 'signal',
  topLogprobs: 'number',
  leavesLast: 'boolean',
  onProgress: 'function',
};

/** What other libraries call these options. */
const RENAMED = {
  maxTokens: 'maxNewTokens',
  max_tokens: 'maxNewTokens',
  maxOutputTokens: 'maxNewTokens',
  stopSequences: 'stop',
  stop_sequences: 'stop',
  abortSignal: 'signal',
  cacheLength: 'cache: { cacheLength }',
  policy: 'cache: { policy }',
  logprobs: 'topLogprobs',
  top_logprobs: 'topLogprobs',
  responseFormat: 'format',
  response_format: 'format',
  json: "format: { type: 'json' }",
  grammar: 'format',
  regex: "format: { type: 'regex', pattern }",
  system: "a message of role 'system'",
  systemPrompt: "a message of role 'system'",
  stream: 'for await (const { text } of …)',
  streamer: 'for await (const { text } of …)',
  onTextChunk: 'for await (const { text } of …)',
  do_sample: 'temperature: 0 (greedy) or above',
  contextSize: 'cache: { cacheLength }',
  num_ctx: 'cache: { cacheLength }',
  num_predict: 'maxNewTokens',
  repeatPenalty: 'repetitionPenalty',
  repeat_penalty: 'repetitionPenalty',
} as const;

const SPECULATE: OptionNames<SpeculateOptions> = {
  draft: true,
  drafter: 'function',
  tokens: 'number',
  exact: 'boolean',
};

/** @throws InputError for an option that there is not. */
export function checkRequest(request: SequenceRequest): void {
  checkOptionNames('generate', request, REQUEST, RENAMED);
  const { speculate } = request;
  if (
    speculate !== undefined &&
    typeof speculate !== 'boolean' &&
    (typeof speculate !== 'object' || speculate === null)
  )
    throw new InputError(`speculate of generate must be true, false or an object, but is ${shown(speculate)}`);
  if (typeof speculate === 'object')
    checkOptionNames('speculate', speculate, SPECULATE, { model: 'draft', numTokens: 'tokens' });
}
/** @throws InputError for an option that there is not. */
export const checkBatch = (options: object): void => checkOptionNames('generateBatch', options, BATCH, RENAMED);
/** @throws InputError for an option that there is not. */
export const checkConversation = (options: object): void => checkOptionNames('Conversation', options, REQUEST, RENAMED);
/** @throws InputError for an option that there is not. */
export const checkScore = (options: object): void => checkOptionNames('score', options, SCORE, RENAMED);
