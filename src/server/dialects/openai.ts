/**
 * @file What the routes of OpenAI's protocol have in common.
 */
import type { ErrorBody } from '../http-error.ts';
import type { TurnEnd, TurnEvent, TurnToken } from '../turn.ts';

export const openaiError = (error: ErrorBody) => ({ error });

/** The end of a turn, which is the last of its events. */
export function endOf(events: readonly TurnEvent[]): TurnEnd {
  return events.at(-1) as TurnEnd;
}

export function usageOf({ usage }: TurnEnd) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}

/** What no other server says. Clients ignore it. */
export function keyholdOf({ cache, timings, stopString }: TurnEnd) {
  const { queueMs, prefillMs, decodeMs } = timings;
  return { cache, timings: { queue_ms: queueMs, prompt_ms: prefillMs, decode_ms: decodeMs }, stop: stopString };
}

const FINISH = { stop: 'stop', length: 'length', 'tool-calls': 'tool_calls' } as const;
export const finishOf = ({ finish }: TurnEnd) => FINISH[finish];

/** Log probabilities as chat answers have them. */
export function logprobsOf(tokens: readonly TurnToken[]) {
  const entry = ({ text, logprob }: Omit<TurnToken, 'top'>) => ({
    token: text,
    logprob,
    bytes: Array.from(new TextEncoder().encode(text)),
  });
  return { content: tokens.map((token) => ({ ...entry(token), top_logprobs: token.top.map(entry) })), refusal: null };
}
