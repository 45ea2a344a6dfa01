/**
 * @file What the routes of OpenAI's protocol have in common.
 */
import type { ErrorBody } from '../http-error.ts';
import { event } from '../sse.ts';
import type { LikelyToken, TurnEnd, TurnToken } from '../turn.ts';
import type { AnswerFacts } from './types.ts';

/** What OpenAI has no type of its own for: its codes (model_not_found, invalid_api_key) tell them apart. */
const ERROR_TYPES: Readonly<Record<string, string>> = {
  not_found_error: 'invalid_request_error',
  authentication_error: 'invalid_request_error',
};
export const openaiError = (error: ErrorBody) => ({
  error: { ...error, type: ERROR_TYPES[error.type] ?? error.type },
});

/** The last data of a stream. */
export const DONE = event('[DONE]');

/** What all objects of the protocol begin with. */
export const headOf = ({ id, created, model, fingerprint }: AnswerFacts, object: string) => ({
  id,
  object,
  created,
  model,
  system_fingerprint: fingerprint,
});

/** The sum over all answers. */
export function usageOf(ends: readonly TurnEnd[]) {
  const sum = (key: keyof TurnEnd['usage']) => ends.reduce((sofar, { usage }) => sofar + usage[key], 0);
  const [prompt, completion] = [sum('promptTokens'), sum('completionTokens')];
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum('cachedTokens') },
    completion_tokens_details: { reasoning_tokens: ends.reduce((sofar, end) => sofar + end.reasoningTokens, 0) },
  };
}

/** Fields of no other server, about the first answer. Clients ignore them. */
export function keyholdOf([{ cache, timings, stopString }]: readonly TurnEnd[]) {
  const { queueMs, prefillMs, decodeMs } = timings;
  return { cache, timings: { queue_ms: queueMs, prompt_ms: prefillMs, decode_ms: decodeMs }, stop: stopString };
}

const FINISH = { stop: 'stop', length: 'length', 'tool-calls': 'tool_calls' } as const;
export const finishOf = ({ finish }: TurnEnd) => FINISH[finish];

/** Log probabilities as chat answers have them. */
export function logprobsOf(tokens: readonly TurnToken[]) {
  const entry = ({ text, logprob, bytes }: LikelyToken) => ({ token: text, logprob, bytes: Array.from(bytes) });
  return { content: tokens.map((token) => ({ ...entry(token), top_logprobs: token.top.map(entry) })), refusal: null };
}
