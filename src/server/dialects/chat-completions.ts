/**
 * @file OpenAI's chat completions (POST /v1/chat/completions).
 */
import * as v from 'valibot';
import type { TextFormat } from '../../grammar/format.ts';
import { COMMON_FIELDS, commonOf, readBody, refuseFields, refuseSeveral, samplingOptions } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { event } from '../sse.ts';
import type { TurnMessage } from '../turn.ts';
import { endOf, finishOf, keyholdOf, logprobsOf, openaiError, usageOf } from './openai.ts';
import type { AnswerFacts, Dialect } from './types.ts';

const Call = v.looseObject({ function: v.looseObject({ name: v.string(), arguments: v.nullish(v.string()) }) });
const Message = v.looseObject({
  role: v.picklist(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: v.nullish(v.union([v.string(), v.array(v.looseObject({ type: v.string() }))])),
  tool_calls: v.nullish(v.array(Call)),
});
const Tool = v.looseObject({
  type: v.literal('function'),
  function: v.looseObject({ name: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.-]{1,64}$/)) }),
});
const Format = v.variant('type', [
  v.looseObject({ type: v.literal('text') }),
  v.looseObject({ type: v.literal('json_object') }),
  v.looseObject({
    type: v.literal('json_schema'),
    json_schema: v.looseObject({ schema: v.union([v.boolean(), v.record(v.string(), v.unknown())]) }),
  }),
  // No part of OpenAI's protocol.
  v.looseObject({ type: v.literal('regex'), pattern: v.string() }),
]);
const Body = v.looseObject({
  ...COMMON_FIELDS,
  messages: v.pipe(v.array(Message), v.minLength(1)),
  max_completion_tokens: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  max_tokens: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  logprobs: v.nullish(v.boolean()),
  top_logprobs: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(20))),
  tools: v.nullish(v.pipe(v.array(Tool), v.maxLength(128))),
  tool_choice: v.nullish(v.union([v.string(), v.looseObject({})])),
  parallel_tool_calls: v.nullish(v.boolean()),
  response_format: v.nullish(Format),
  reasoning_effort: v.nullish(v.string()),
  chat_template_kwargs: v.nullish(v.record(v.string(), v.unknown())),
});

const REFUSED = {
  chat_template: 'templates are the model’s own; those of requests are not run',
  functions: 'this field is gone; use tools',
  function_call: 'this field is gone; use tool_choice',
  audio: 'only text is written',
  web_search_options: 'there is no search',
};

/** The texts of a message's parts. @throws HttpError for parts that are no text. */
function textOf(content: v.InferOutput<typeof Message>['content'], at: string): string {
  if (typeof content === 'string') return content;
  return (content ?? [])
    .map((part, i) => {
      if (part.type === 'text' && typeof part.text === 'string') return part.text;
      throw new HttpError(400, `${at}.content.${i}: parts of type "${part.type}" are not supported, only text`, {
        param: `${at}.content.${i}`,
        code: 'unsupported_content',
      });
    })
    .join('');
}

/** Templates want the arguments of a call as an object. */
function parsedCall(call: v.InferOutput<typeof Call>) {
  const text = call.function.arguments ?? '{}';
  let args: unknown = text;
  try {
    args = JSON.parse(text);
  } catch {
    // What is no JSON goes on as it is.
  }
  return { ...call, function: { ...call.function, arguments: args } };
}

function messageOf(message: v.InferOutput<typeof Message>, i: number): TurnMessage {
  const { role, content, tool_calls: calls, ...rest } = message;
  return {
    ...rest,
    role: role === 'developer' ? 'system' : role,
    content: textOf(content, `messages.${i}`),
    ...(calls ? { tool_calls: calls.map(parsedCall) } : {}),
  };
}

/** The form that a text must have; null: any. */
function formatOf(format: v.InferOutput<typeof Format> | null | undefined): TextFormat | null {
  switch (format?.type) {
    case 'json_object':
      return { type: 'json_schema', schema: { type: 'object' } };
    case 'json_schema':
      return { type: 'json_schema', schema: format.json_schema.schema };
    case 'regex':
      return { type: 'regex', pattern: format.pattern };
  }
  return null;
}

export const chatCompletions: Dialect = {
  idPrefix: 'chatcmpl-',
  read(json) {
    const body = readBody(Body, json);
    refuseFields(body, REFUSED);
    refuseSeveral(body.n);
    const choice = body.tool_choice ?? 'auto';
    if (choice !== 'auto' && choice !== 'none')
      throw new HttpError(400, 'tool_choice: only "auto" and "none" are supported', { param: 'tool_choice' });
    const tools = choice === 'none' ? undefined : (body.tools ?? undefined);
    const effort = body.reasoning_effort;
    const variables = {
      ...body.chat_template_kwargs,
      ...(effort ? { reasoning_effort: effort, enable_thinking: effort !== 'none' } : {}),
    };
    const format = formatOf(body.response_format);
    const options = {
      ...samplingOptions(body, body.max_completion_tokens ?? body.max_tokens),
      ...(format ? { format } : {}),
    };
    const { turn, delivery } = commonOf(body);
    return {
      turn: {
        ...turn,
        input: { messages: body.messages.map(messageOf), tools: tools?.length ? tools : undefined, variables },
        options: body.logprobs ? { ...options, topLogprobs: body.top_logprobs ?? 0 } : options,
        singleCall: body.parallel_tool_calls === false,
      },
      ...delivery,
    };
  },
  whole(facts, events) {
    const end = endOf(events);
    const textOf = (type: 'text' | 'reasoning') =>
      events.map((each) => (each.type === type ? (each as { text: string }).text : '')).join('');
    const tokens = events.flatMap((each) => (each.type === 'text' && each.tokens ? each.tokens : []));
    const calls = events.flatMap((each) =>
      each.type === 'tool-call'
        ? [
            {
              id: each.id,
              type: 'function',
              function: { name: each.call.name, arguments: JSON.stringify(each.call.arguments) },
            },
          ]
        : [],
    );
    const [content, reasoning] = [textOf('text'), textOf('reasoning')];
    return {
      ...head(facts, 'chat.completion'),
      choices: [
        {
          index: 0,
          message: {
            role: 'assistant',
            content: calls.length > 0 && content.trim() === '' ? null : content,
            refusal: null,
            ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
            ...(calls.length > 0 ? { tool_calls: calls } : {}),
          },
          logprobs: tokens.length > 0 ? logprobsOf(tokens) : null,
          finish_reason: finishOf(end),
        },
      ],
      usage: usageOf(end),
      keyhold: keyholdOf(end),
    };
  },
  async *stream(facts, events) {
    const chunk = (delta: unknown, more: { logprobs?: unknown; finish_reason?: string } = {}) =>
      event({
        ...head(facts, 'chat.completion.chunk'),
        choices: [{ index: 0, delta, logprobs: null, finish_reason: null, ...more }],
        ...(facts.includeUsage ? { usage: null } : {}),
      });
    yield chunk({ role: 'assistant', content: '' });
    let calls = 0;
    for await (const each of events) {
      if (each.type === 'text') {
        if (each.text === '' && !each.tokens?.length) continue;
        yield chunk({ content: each.text }, each.tokens ? { logprobs: logprobsOf(each.tokens) } : {});
      } else if (each.type === 'reasoning') yield chunk({ reasoning_content: each.text });
      else if (each.type === 'tool-call') {
        const index = calls++;
        const { name } = each.call;
        yield chunk({ tool_calls: [{ index, id: each.id, type: 'function', function: { name, arguments: '' } }] });
        yield chunk({ tool_calls: [{ index, function: { arguments: JSON.stringify(each.call.arguments) } }] });
      } else if (each.type === 'end') {
        yield chunk({}, { finish_reason: finishOf(each) });
        if (facts.includeUsage)
          yield event({
            ...head(facts, 'chat.completion.chunk'),
            choices: [],
            usage: usageOf(each),
            keyhold: keyholdOf(each),
          });
        yield event('[DONE]');
      }
    }
  },
  error: openaiError,
};

const head = ({ id, created, model, fingerprint }: AnswerFacts, object: string) => ({
  id,
  object,
  created,
  model,
  system_fingerprint: fingerprint,
});
