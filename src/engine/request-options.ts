/**
 * @file The names of all options of requests, so that others are refused.
 */
import { checkOptionNames, type OptionNames } from '../util/option-names.ts';
import type { BatchOptions, BatchRequest, ScoreOptions, SequenceRequest } from './options.ts';
import type { SpeculateOptions } from './speculate/drafter.ts';

const REQUEST: OptionNames<SequenceRequest & BatchRequest> = {
  id: true,
  prompt: true,
  messages: true,
  addSpecialTokens: true,
  cache: true,
  reusePrefix: true,
  chunkLength: true,
  adapters: true,
  speculate: true,
  signal: true,
  onPrefill: true,
  template: true,
  tools: true,
  templateName: true,
  variables: true,
  maxNewTokens: true,
  stop: true,
  eosTokenIds: true,
  topLogprobs: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  frequencyPenalty: true,
  generationConfig: true,
  presencePenalty: true,
  logitBias: true,
  bannedTokens: true,
  processors: true,
  format: true,
  seed: true,
};
const BATCH: OptionNames<BatchOptions> = { ...REQUEST, batchSize: true };
const SCORE: OptionNames<ScoreOptions> = {
  addSpecialTokens: true,
  adapters: true,
  cache: true,
  chunkLength: true,
  signal: true,
  topLogprobs: true,
  onProgress: true,
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
} as const;

const SPECULATE: OptionNames<SpeculateOptions> = { draft: true, drafter: true, tokens: true, exact: true };

/** @throws InputError for an option that there is not. */
export function checkRequest(request: SequenceRequest): void {
  checkOptionNames('generate', request, REQUEST, RENAMED);
  if (typeof request.speculate === 'object')
    checkOptionNames('speculate', request.speculate, SPECULATE, { model: 'draft', numTokens: 'tokens' });
}
/** @throws InputError for an option that there is not. */
export const checkBatch = (options: object): void => checkOptionNames('generateBatch', options, BATCH, RENAMED);
/** @throws InputError for an option that there is not. */
export const checkScore = (options: object): void => checkOptionNames('score', options, SCORE, RENAMED);
