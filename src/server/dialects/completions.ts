/**
 * @file OpenAI's completions of a text (POST /v1/completions).
 */
import * as v from 'valibot';
import { COMMON_FIELDS, commonOf, REFUSED_FIELDS, readBody, refuseFields, samplingOptions } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { event } from '../sse.ts';
import type { TurnEnd, TurnToken } from '../turn.ts';
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
  max_tokens: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  logprobs: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(20))),
});

const REFUSED = {
  ...REFUSED_FIELDS,
  suffix: 'texts are only continued at their end',
  echo: 'the prompt is not repeated; POST /tokenize gives its tokens',
};

/** OpenAI's own default. */
const MAX_TOKENS = 16;

/** Log probabilities as completions have them. @param offset characters before the first token. */
function logprobsOf(tokens: readonly TurnToken[], offset: number) {
  const offsets: number[] = [];
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for (const { bytes } of tokens) {
    offsets.push(offset);
    // A part of a character counts when the character is whole.
    offset += decoder.decode(bytes, { stream: true }).length;
  }
  return {
    tokens: tokens.map(({ text }) => text),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(({ top }) => Object.fromEntries(top.map(({ text, logprob }) => [text, logprob]))),
    text_offset: offsets,
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
      })),
      ...delivery,
    };
  },
  whole(facts, choices) {
    const answers = choices.map(answerOf);
    const ends = answers.map(({ end }) => end);
    return {
      ...headOf(facts, OBJECT),
      choices: answers.map(({ text, tokens, end }, index) => ({
        text,
        index,
        logprobs: tokens.length > 0 ? logprobsOf(tokens, 0) : null,
        finish_reason: finishOf(end),
      })),
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
      if (each.type === 'text') {
        const offset = offsets.get(index) ?? 0;
        const logprobs = each.tokens ? logprobsOf(each.tokens, offset) : null;
        offsets.set(index, offset + each.text.length);
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
