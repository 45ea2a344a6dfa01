/**
 * @file The fields of requests that the dialects share, and how they become options. A field that would change the
 * answer and is not supported is refused; fields that are not known are ignored, since clients send new ones all the
 * time.
 */
import * as v from 'valibot';
import { issueText } from '../util/json/issue.ts';
import { HttpError } from './http-error.ts';
import type { TurnOptions } from './turn.ts';

const whole = (least: number) => v.nullish(v.pipe(v.number(), v.integer(), v.minValue(least)));
const between = (low: number, high: number) => v.nullish(v.pipe(v.number(), v.minValue(low), v.maxValue(high)));

/** A field with the largest number of tokens of an answer. -1 is the server's own, as in llama-server and LM Studio. */
export const maxTokens = (least: number) =>
  v.nullish(
    v.pipe(
      v.number(),
      v.integer(),
      v.check(
        (tokens) => tokens === -1 || tokens >= least,
        `must be at least ${least}, or -1: as many as the server allows`,
      ),
    ),
  );

/** Most answers to one prompt. */
const MAX_ANSWERS = 16;

/** What names a session. */
export const SESSION_ID = /^[A-Za-z0-9._-]{1,128}$/;
/** {@link SESSION_ID} in words. */
export const SESSION_RULE = 'must be 1 to 128 of the characters A-Z a-z 0-9 . _ -';

/** What a tool may be called. */
export const TOOL_NAME = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_.-]{1,64}$/, 'must be 1 to 64 of the characters A-Z a-z 0-9 . _ -'),
);

/** A text or an object (or a list). Errors name the field of the object, which those of a union do not. */
export const textOrObject = <Text extends v.GenericSchema, Object extends v.GenericSchema>(
  text: Text,
  object: Object,
) => v.lazy((input: unknown): Text | Object => (typeof input === 'object' && input !== null ? object : text));

const Stop = v.pipe(v.string(), v.maxLength(1000));

/** How the text is chosen. */
const SAMPLING_FIELDS = {
  temperature: between(0, 2),
  top_p: between(0, 1),
  // -1 means all, as 0 does: vLLM's.
  top_k: whole(-1),
  min_p: between(0, 1),
  repetition_penalty: v.nullish(v.pipe(v.number(), v.gtValue(0))),
  // The name of llama-server.
  repeat_penalty: v.nullish(v.pipe(v.number(), v.gtValue(0))),
  frequency_penalty: between(-2, 2),
  presence_penalty: between(-2, 2),
  seed: v.nullish(v.pipe(v.number(), v.integer())),
  stop: v.nullish(textOrObject(Stop, v.pipe(v.array(Stop), v.maxLength(64)))),
  logit_bias: v.nullish(
    v.record(
      v.pipe(v.string(), v.regex(/^\d{1,8}$/, 'must be named by a token id, which is a whole number')),
      v.pipe(v.number(), v.minValue(-100), v.maxValue(100)),
    ),
  ),
  ignore_eos: v.nullish(v.boolean()),
  skip_special_tokens: v.nullish(v.literal(true, 'special tokens are no part of the text')),
} as const;

/** Which cache is used. No part of other servers' protocols. */
export const CACHE_FIELDS = {
  session_id: v.nullish(v.pipe(v.string(), v.regex(SESSION_ID, SESSION_RULE))),
  cache: v.nullish(v.string()),
} as const;

/** What all requests for text may say besides. */
export const COMMON_FIELDS = {
  ...SAMPLING_FIELDS,
  model: v.string(),
  stream: v.nullish(v.boolean()),
  stream_options: v.nullish(v.looseObject({ include_usage: v.nullish(v.boolean()) })),
  n: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_ANSWERS))),
  user: v.nullish(v.string()),
  ...CACHE_FIELDS,
} as const;

type Common = v.InferOutput<v.ObjectSchema<typeof COMMON_FIELDS, undefined>>;
type Sampling = v.InferOutput<v.ObjectSchema<typeof SAMPLING_FIELDS, undefined>>;

/** What each dialect's request takes of the fields that all have. */
export function commonOf({ model, session_id, user, cache, n, stream, stream_options }: Common) {
  return {
    turn: { model, session: session_id ?? null, user: userOf(user), cacheClass: cache ?? null, answers: n ?? 1 },
    delivery: { stream: stream ?? false, includeUsage: stream_options?.include_usage ?? false },
  };
}

/** A user by name. */
export const userOf = (user: string | null | undefined): string | null => user || null;

const NOT_SAMPLED = 'this way of sampling is not supported; there are temperature, top_k, top_p, min_p and penalties';

/** Fields of other servers that would change the answer. */
export const REFUSED_FIELDS = {
  min_tokens: 'an answer ends where the model ends it; ignore_eos goes on to max_tokens',
  stop_token_ids: 'an answer ends at texts; use stop',
  include_stop_str_in_output: 'the text ends before the stop string, which keyhold.stop names',
  bad_words: 'use logit_bias, with -100',
  allowed_token_ids: 'use response_format, of the type regex',
  use_beam_search: NOT_SAMPLED,
  length_penalty: NOT_SAMPLED,
  typical_p: NOT_SAMPLED,
  top_n_sigma: NOT_SAMPLED,
  mirostat: NOT_SAMPLED,
  dynatemp_range: NOT_SAMPLED,
  dry_multiplier: NOT_SAMPLED,
  xtc_probability: NOT_SAMPLED,
  prompt_logprobs: 'log probabilities are those of the answer',
  n_probs: 'use logprobs',
  truncate_prompt_tokens: 'nothing is left out of a prompt; use a class of caches that evicts',
  n_keep: 'nothing is left out of a prompt; use a class of caches that evicts',
  n_predict: 'use max_tokens',
  lora: 'adapters are models of their own: NAME:ADAPTER',
} as const;

/** Seeds of the protocol are any 64 bits, also negative ones; those of several answers follow each other. */
const SEEDS = 2 ** 52;
const seedOf = (seed: number | null | undefined) =>
  typeof seed === 'number' ? ((seed % SEEDS) + SEEDS) % SEEDS : seed;

/** Only what was said: the checkpoint's generation_config.json decides about the rest. */
export function samplingOptions(body: Partial<Sampling>, maxNewTokens: number | null | undefined): TurnOptions {
  const bias = body.logit_bias;
  const options = {
    temperature: body.temperature,
    // 1 means all in these protocols.
    topP: body.top_p === 0 ? 1e-6 : body.top_p,
    topK: body.top_k === -1 ? 0 : body.top_k,
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty ?? body.repeat_penalty,
    frequencyPenalty: body.frequency_penalty,
    presencePenalty: body.presence_penalty,
    seed: seedOf(body.seed),
    stop: typeof body.stop === 'string' ? [body.stop] : body.stop,
    logitBias:
      bias && Object.keys(bias).length > 0
        ? new Map(Object.entries(bias).map(([id, value]) => [Number(id), value]))
        : null,
    eosTokenIds: body.ignore_eos ? [] : null,
    maxNewTokens: maxNewTokens === -1 ? null : maxNewTokens,
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null && value !== undefined));
}

/** @throws HttpError 400 that names the field. */
export function readBody<T extends v.GenericSchema>(schema: T, body: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, body, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  throw new HttpError(400, issueText(path ?? 'the body', issue), { param: path ?? undefined });
}

const SAYS_NOTHING: readonly unknown[] = [undefined, null, false, 0, ''];
/** Values with which other fields say nothing. */
const NEUTRAL: Readonly<Record<string, number>> = { length_penalty: 1, typical_p: 1, top_n_sigma: -1, n_predict: -1 };

/**
 * @param path of the body, where it is a part of one.
 * @throws HttpError 400 for a field that is there and says something.
 */
export function refuseFields(
  body: Readonly<Record<string, unknown>>,
  reasons: Readonly<Record<string, string>>,
  path = '',
): void {
  for (const [field, reason] of Object.entries(reasons)) {
    const value = body[field];
    const saysNothing = SAYS_NOTHING.includes(value) || (Array.isArray(value) && value.length === 0);
    if (!saysNothing && value !== NEUTRAL[field])
      throw new HttpError(400, `${path}${field}: ${reason}`, { param: path + field });
  }
}
