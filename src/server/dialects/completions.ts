/**
 * @file OpenAI's completions of a text (POST /v1/completions).
 */
import * as v from 'valibot';
import { characters } from '../echo.ts';
import {
  COMMON_FIELDS,
  commonOf,
  maxTokens,
  REFUSED_FIELDS,
  readBody,
  refuseFields,
  samplingOptions,
} from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { event } from '../sse.ts';
import type { LikelyToken, PromptToken, TurnEnd, TurnEvent, TurnToken } from '../turn.ts';
import { answerOf } from './answer.ts';
import { DONE, finishOf, headOf, keyholdOf, openaiError, usageOf } from './openai.ts';
import { FORM_FIELDS, formOf } from './text-form.ts';
import type { Dialect } from './types.ts';

/** Most prompts of a request. */
const MAX_PROMPTS = 256;
const OBJECT = 'text_completion';

const listOf = <T extends v.GenericSchema>(item: T) => v.pipe(v.array(item), v.minLength(1), v.maxLength(MAX_PROMPTS));
const Ids = v.pipe(v.array(v.pipe(v.number(), v.integer(), v.minValue(0))), v.minLength(1));
const Body = v.looseObject({
  ...COMMON_FIELDS,
  ...FORM_FIELDS,
  prompt: v.union(
    [v.string(), Ids, listOf(v.string()), listOf(Ids)],
    `wanted is a text, token ids, or a list of 1 to ${MAX_PROMPTS} of them`,
  ),
  // 0: the prompt alone, such as for its log probabilities.
  max_tokens: maxTokens(0),
  echo: v.nullish(v.boolean()),
  logprobs: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(20))),
});

const REFUSED = {
  ...REFUSED_FIELDS,
  suffix: 'texts are only continued at their end',
  prompt_logprobs: 'use logprobs, with echo',
};

/** OpenAI's own default. */
const MAX_TOKENS = 16;

/** Log probabilities as completions have them. */
interface Logprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  /** As in OpenAI's, the token itself is among them. */
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  /** In characters of Unicode. */
  readonly text_offset: readonly number[];
}

const topOf = (top: readonly LikelyToken[], { text, logprob }: LikelyToken) =>
  Object.fromEntries([...top, { text, logprob }].map((each) => [each.text, each.logprob]));

/** Those of an answer. @param offset characters before the first token. */
function logprobsOf(tokens: readonly TurnToken[], offset: number): Logprobs {
  const offsets: number[] = [];
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for (const { bytes } of tokens) {
    offsets.push(offset);
    // A part of a character counts when the character is whole.
    offset += characters(decoder.decode(bytes, { stream: true }));
  }
  return {
    tokens: tokens.map(({ text }) => text),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map((token) => topOf(token.top, token)),
    text_offset: offsets,
  };
}

/** Those of a prompt, whose first token has none. */
const promptLogprobs = (tokens: readonly PromptToken[]): Logprobs => ({
  tokens: tokens.map(({ text }) => text),
  token_logprobs: tokens.map(({ logprob }) => logprob),
  top_logprobs: tokens.map((token) =>
    token.logprob === null ? null : topOf(token.top, { ...token, logprob: token.logprob }),
  ),
  text_offset: tokens.map(({ offset }) => offset),
});

const joined = (a: Logprobs, b: Logprobs): Logprobs => ({
  tokens: [...a.tokens, ...b.tokens],
  token_logprobs: [...a.token_logprobs, ...b.token_logprobs],
  top_logprobs: [...a.top_logprobs, ...b.top_logprobs],
  text_offset: [...a.text_offset, ...b.text_offset],
});

const streamedLogprobs = (event: TurnEvent, offset: number): Logprobs | null => {
  if (event.type === 'prompt') return event.tokens ? promptLogprobs(event.tokens) : null;
  return event.type === 'text' && event.tokens ? logprobsOf(event.tokens, offset) : null;
};

/** An answer, behind its prompt where that is repeated. */
function choiceOf(events: readonly TurnEvent[], index: number) {
  const [first] = events;
  const { text, tokens, end } = answerOf(events);
  const echo = first.type === 'prompt' ? first : { text: '', tokens: undefined };
  const after = tokens.length > 0 ? logprobsOf(tokens, characters(echo.text)) : null;
  const before = echo.tokens ? promptLogprobs(echo.tokens) : null;
  return {
    text: echo.text + text,
    index,
    logprobs: before && after ? joined(before, after) : (before ?? after),
    finish_reason: finishOf(end),
  };
}

export const completions: Dialect = {
  idPrefix: 'cmpl-',
  read(json) {
    const body = readBody(Body, json);
    refuseFields(body, REFUSED);
    const { best_of: best } = body;
    if (best !== undefined && best !== null && best !== (body.n ?? 1))
      throw new HttpError(400, 'best_of: answers are not ranked; use n', { param: 'best_of' });
    const form = formOf(body);
    const options = {
      ...samplingOptions(body, body.max_tokens ?? MAX_TOKENS),
      ...(form && { format: form.format }),
    };
    const { turn, delivery } = commonOf(body);
    const { prompt, logprobs } = body;
    const isList = (given: typeof prompt): given is string[] | number[][] =>
      typeof given !== 'string' && typeof given[0] !== 'number';
    const prompts: readonly (string | readonly number[])[] = isList(prompt) ? prompt : [prompt];
    if (prompts.length > 1 && turn.session !== null)
      throw new HttpError(400, 'session_id: a session has one prompt at a time', { param: 'session_id' });
    return {
      turns: prompts.map((each) => ({
        ...turn,
        input: { prompt: each },
        formatField: form?.field,
        options: logprobs === null || logprobs === undefined ? options : { ...options, topLogprobs: logprobs },
        singleCall: false,
        echo: body.echo ?? false,
      })),
      ...delivery,
    };
  },
  whole(facts, choices) {
    const ends = choices.map((events) => answerOf(events).end);
    return {
      ...headOf(facts, OBJECT),
      choices: choices.map(choiceOf),
      usage: usageOf(ends),
      keyhold: keyholdOf(ends),
    };
  },
  async *stream(facts, events) {
    const head = headOf(facts, OBJECT);
    /** Numbers of characters, by answer. */
    const offsets = new Map<number, number>();
    const ends: TurnEnd[] = [];
    for await (const { index, event: each } of events) {
      if (each.type === 'text' || each.type === 'prompt') {
        const offset = offsets.get(index) ?? 0;
        const logprobs = streamedLogprobs(each, offset);
        offsets.set(index, offset + characters(each.text));
        yield event({ ...head, choices: [{ text: each.text, index, logprobs, finish_reason: null }] });
      } else if (each.type === 'end') {
        ends.push(each);
        yield event({ ...head, choices: [{ text: '', index, logprobs: null, finish_reason: finishOf(each) }] });
      }
    }
    if (facts.includeUsage) yield event({ ...head, choices: [], usage: usageOf(ends), keyhold: keyholdOf(ends) });
    yield DONE;
  },
  error: openaiError,
  streamError: (error) => event(openaiError(error)),
};
