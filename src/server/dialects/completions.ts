/**
 * @file OpenAI's completions of a text (POST /v1/completions).
 */
import * as v from 'valibot';
import { COMMON_FIELDS, commonOf, readBody, refuseFields, refuseSeveral, samplingOptions } from '../fields.ts';
import { event } from '../sse.ts';
import type { TurnToken } from '../turn.ts';
import { endOf, finishOf, keyholdOf, openaiError, usageOf } from './openai.ts';
import type { AnswerFacts, Dialect } from './types.ts';

const Ids = v.pipe(v.array(v.pipe(v.number(), v.integer(), v.minValue(0))), v.minLength(1));
const Body = v.looseObject({
  ...COMMON_FIELDS,
  prompt: v.union([v.string(), Ids]),
  max_tokens: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  logprobs: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(20))),
});

const REFUSED = {
  suffix: 'texts are only continued at their end',
  echo: 'the prompt is not repeated; POST /tokenize gives its tokens',
};

/** OpenAI's own default. */
const MAX_TOKENS = 16;

/** Log probabilities as completions have them. @param offset characters before the first token. */
function logprobsOf(tokens: readonly TurnToken[], offset: number) {
  const offsets: number[] = [];
  for (const { text } of tokens) {
    offsets.push(offset);
    offset += text.length;
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
    refuseSeveral(body.n);
    refuseSeveral(body.best_of as number | undefined);
    const options = samplingOptions(body, body.max_tokens ?? MAX_TOKENS);
    const { turn, delivery } = commonOf(body);
    return {
      turn: {
        ...turn,
        input: { prompt: body.prompt },
        options:
          body.logprobs === null || body.logprobs === undefined ? options : { ...options, topLogprobs: body.logprobs },
        singleCall: false,
      },
      ...delivery,
    };
  },
  whole(facts, events) {
    const end = endOf(events);
    const texts = events.flatMap((each) => (each.type === 'text' ? [each] : []));
    const tokens = texts.flatMap((each) => each.tokens ?? []);
    const logprobs = tokens.length > 0 ? logprobsOf(tokens, 0) : null;
    const text = texts.map((each) => each.text).join('');
    return {
      ...head(facts),
      choices: [{ text, index: 0, logprobs, finish_reason: finishOf(end) }],
      usage: usageOf(end),
      keyhold: keyholdOf(end),
    };
  },
  async *stream(facts, events) {
    let offset = 0;
    for await (const each of events) {
      if (each.type === 'text') {
        const logprobs = each.tokens ? logprobsOf(each.tokens, offset) : null;
        offset += each.text.length;
        yield event({ ...head(facts), choices: [{ text: each.text, index: 0, logprobs, finish_reason: null }] });
      } else if (each.type === 'end') {
        yield event({
          ...head(facts),
          choices: [{ text: '', index: 0, logprobs: null, finish_reason: finishOf(each) }],
        });
        if (facts.includeUsage)
          yield event({ ...head(facts), choices: [], usage: usageOf(each), keyhold: keyholdOf(each) });
        yield event('[DONE]');
      }
    }
  },
  error: openaiError,
};

const head = ({ id, created, model, fingerprint }: AnswerFacts) => ({
  id,
  object: 'text_completion',
  created,
  model,
  system_fingerprint: fingerprint,
});
