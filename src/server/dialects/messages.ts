/**
 * @file Anthropic's messages (POST /v1/messages).
 */
import * as v from 'valibot';
import type { TextFormat } from '../../grammar/format.ts';
import { CACHE_FIELDS, readBody, refuseFields, samplingOptions, TOOL_NAME, textOrObject, userOf } from '../fields.ts';
import { type ErrorBody, HttpError } from '../http-error.ts';
import { event } from '../sse.ts';
import type { Turn, TurnEnd, TurnMessage, TurnTool } from '../turn.ts';
import { type AnswerPart, answerOf } from './answer.ts';
import { blocksIn, blocksOf } from './blocks.ts';
import { contentText, parsedArguments, templateCall, toolsOf } from './tools.ts';
import type { AnswerFacts, Dialect } from './types.ts';

const Parts = v.array(v.looseObject({ type: v.string() }));
const Content = textOrObject(v.string(), Parts);
const Message = v.looseObject({ role: v.picklist(['user', 'assistant', 'system']), content: Content });
const Tool = v.looseObject({
  type: v.nullish(v.literal('custom', 'only tools of the client (type "custom") are supported')),
  name: TOOL_NAME,
  description: v.nullish(v.string()),
  input_schema: v.record(v.string(), v.unknown()),
  strict: v.nullish(v.boolean()),
});
const INPUT = {
  model: v.string(),
  system: v.nullish(Content),
  messages: v.pipe(v.array(Message), v.minLength(1)),
  tools: v.nullish(v.pipe(v.array(Tool), v.maxLength(128))),
  tool_choice: v.nullish(
    v.looseObject({
      type: v.picklist(['auto', 'any', 'tool', 'none']),
      name: v.nullish(v.string()),
      disable_parallel_tool_use: v.nullish(v.boolean()),
    }),
  ),
  thinking: v.nullish(v.looseObject({ type: v.picklist(['enabled', 'disabled', 'adaptive']) })),
  output_config: v.nullish(
    v.looseObject({
      effort: v.nullish(v.string()),
      format: v.nullish(v.looseObject({ type: v.literal('json_schema'), schema: v.record(v.string(), v.unknown()) })),
    }),
  ),
};
const Body = v.looseObject({
  ...INPUT,
  ...CACHE_FIELDS,
  max_tokens: v.pipe(v.number(), v.integer(), v.minValue(1)),
  stream: v.nullish(v.boolean()),
  stop_sequences: v.nullish(v.pipe(v.array(v.pipe(v.string(), v.maxLength(1000))), v.maxLength(64))),
  temperature: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
  top_p: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
  top_k: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0))),
  metadata: v.nullish(v.looseObject({ user_id: v.nullish(v.string()) })),
});
const CountBody = v.looseObject(INPUT);
type Input = v.InferOutput<typeof CountBody>;

const REFUSED = {
  output_format: 'use output_config.format',
  mcp_servers: 'only tools of the client are supported',
  container: 'only tools of the client are supported',
};

/** The messages that one of the protocol becomes: results of tools are messages of their own. */
function messagesOf(
  { role, content }: v.InferOutput<typeof Message>,
  i: number,
  names: Map<string, string>,
): TurnMessage[] {
  const path = `messages.${i}.content`;
  if (typeof content === 'string') return [{ role, content }];
  const textOf = (type: string, field: string) =>
    content.map((part) => (part.type === type ? String(part[field] ?? '') : '')).join('');
  if (role === 'assistant') {
    const calls = content.filter(({ type }) => type === 'tool_use');
    for (const { id, name } of calls) names.set(String(id), String(name));
    const known = ['text', 'tool_use', 'thinking', 'redacted_thinking'];
    contentText(
      content.filter(({ type }) => !known.includes(type)),
      [],
      path,
    );
    const thoughts = textOf('thinking', 'thinking');
    return [
      {
        role,
        content: textOf('text', 'text'),
        ...(thoughts === '' ? {} : { reasoning_content: thoughts }),
        ...(calls.length > 0
          ? { tool_calls: calls.map(({ id, name, input }) => templateCall(String(id), String(name), input ?? {})) }
          : {}),
      },
    ];
  }
  const results = content.flatMap((part, at): TurnMessage[] => {
    if (part.type !== 'tool_result') return [];
    const id = String(part['tool_use_id']);
    const given = part['content'] as v.InferOutput<typeof Content> | null | undefined;
    const text = contentText(given, ['text'], `${path}.${at}.content`);
    return [
      { role: 'tool', tool_call_id: id, name: names.get(id), content: part['is_error'] ? `Error: ${text}` : text },
    ];
  });
  const rest = content.filter(({ type }) => type !== 'tool_result');
  return rest.length === 0 ? results : [...results, { role, content: contentText(rest, ['text'], path) }];
}

function inputOf(body: Input): { readonly input: Turn['input']; readonly format: TextFormat | null } {
  const { system, messages, tools, tool_choice: choice, thinking, output_config: output } = body;
  const wanted = { auto: 'auto', any: 'required', none: 'none', tool: { name: choice?.name ?? '' } } as const;
  const names = new Map<string, string>();
  const systemText = contentText(system, ['text'], 'system');
  const given = tools?.map(
    ({ name, description, input_schema: parameters, strict }): TurnTool => ({
      type: 'function',
      function: { name, ...(description ? { description } : {}), parameters, ...(strict ? { strict } : {}) },
    }),
  );
  const effort = output?.effort;
  return {
    input: {
      messages: [
        ...(systemText === '' ? [] : [{ role: 'system', content: systemText }]),
        ...messages.flatMap((message, i) => messagesOf(message, i, names)),
      ],
      ...toolsOf(given, wanted[choice?.type ?? 'auto']),
      variables: {
        enable_thinking: thinking ? thinking.type !== 'disabled' : false,
        ...(effort ? { reasoning_effort: effort } : {}),
      },
    },
    format: output?.format ? { type: 'json_schema', schema: output.format.schema } : null,
  };
}

/** The prompt of a body of POST /v1/messages/count_tokens. @throws HttpError names the field. */
export function readCount(json: unknown): { readonly model: string; readonly input: Turn['input'] } {
  const body = readBody(CountBody, json);
  return { model: body.model, input: inputOf(body).input };
}

const ERROR_TYPES: Readonly<Record<string, string>> = {
  request_too_large: 'request_too_large',
  server_error: 'api_error',
};
export const messagesError = ({ message, type, code }: ErrorBody) => ({
  type: 'error',
  error: { type: ERROR_TYPES[code ?? ''] ?? ERROR_TYPES[type] ?? type, message },
});

const STOPS = { stop: 'end_turn', length: 'max_tokens', 'tool-calls': 'tool_use' } as const;
const stopOf = ({ finish, stopString }: TurnEnd) => ({
  stop_reason: finish === 'stop' && stopString !== null ? 'stop_sequence' : STOPS[finish],
  stop_sequence: finish === 'stop' ? stopString : null,
});
const usageOf = ({ usage }: TurnEnd) => ({
  input_tokens: usage.promptTokens - usage.cachedTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: usage.cachedTokens,
  output_tokens: usage.completionTokens,
});

/** Thoughts must have a signature, which is not read when they come back. */
const SIGNATURE = 'keyhold';

function blockOf(part: AnswerPart) {
  if (part.type === 'text') return { type: 'text', text: part.text };
  if (part.type === 'reasoning') return { type: 'thinking', thinking: part.text, signature: SIGNATURE };
  const input = parsedArguments(part.arguments);
  // A call that was cut off has no input that is an object.
  if (typeof input !== 'object') return { type: 'text', text: `${part.name}(${part.arguments}` };
  return { type: 'tool_use', id: part.id, name: part.name, input };
}

function emptyBlock(part: AnswerPart) {
  if (part.type === 'text') return { type: 'text', text: '' };
  if (part.type === 'reasoning') return { type: 'thinking', thinking: '', signature: '' };
  return { type: 'tool_use', id: part.id, name: part.name, input: {} };
}
const DELTA = {
  text: (text: string) => ({ type: 'text_delta', text }),
  reasoning: (thinking: string) => ({ type: 'thinking_delta', thinking }),
  call: (json: string) => ({ type: 'input_json_delta', partial_json: json }),
};
const named = (data: { readonly type: string; readonly [key: string]: unknown }): string => event(data, data.type);

export const messages: Dialect = {
  idPrefix: 'msg_',
  read(json) {
    const body = readBody(Body, json);
    refuseFields(body, REFUSED);
    if (body.tool_choice?.type === 'tool' && !body.tool_choice.name)
      throw new HttpError(400, 'tool_choice.name: it must name a tool', { param: 'tool_choice.name' });
    const { input, format } = inputOf(body);
    const { temperature, top_p, top_k, stop_sequences: stop, max_tokens: most, session_id: session, cache } = body;
    const options = samplingOptions({ temperature, top_p, top_k, stop }, most);
    return {
      turns: [
        {
          model: body.model,
          input,
          options: format ? { ...options, format } : options,
          formatField: 'output_config.format',
          session: session ?? null,
          user: userOf(body.metadata?.user_id),
          cacheClass: cache ?? null,
          singleCall: body.tool_choice?.disable_parallel_tool_use ?? false,
          answers: 1,
        },
      ],
      stream: body.stream ?? false,
      includeUsage: true,
    };
  },
  whole(facts, [events]) {
    const { parts, end } = answerOf(events);
    return {
      ...headOf(facts),
      content: blocksIn(parts).map(blockOf),
      ...stopOf(end),
      usage: usageOf(end),
    };
  },
  async *stream(facts, events) {
    const usage = { input_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 0 };
    const message = { ...headOf(facts), content: [], stop_reason: null, stop_sequence: null, usage };
    yield named({ type: 'message_start', message });
    for await (const each of blocksOf(events)) {
      if (each.type === 'end') {
        // How many tokens the cache had is known now.
        yield named({ type: 'message_delta', delta: stopOf(each.end), usage: usageOf(each.end) });
        yield named({ type: 'message_stop' });
        continue;
      }
      const { index, part } = each;
      if (each.type === 'start') yield named({ type: 'content_block_start', index, content_block: emptyBlock(part) });
      else if (each.type === 'delta')
        yield named({ type: 'content_block_delta', index, delta: DELTA[part.type](each.text) });
      else {
        const delta = { type: 'signature_delta', signature: SIGNATURE };
        if (part.type === 'reasoning') yield named({ type: 'content_block_delta', index, delta });
        yield named({ type: 'content_block_stop', index });
      }
    }
  },
  error: messagesError,
  streamError: (error) => named(messagesError(error)),
};

const headOf = ({ id, model }: AnswerFacts) => ({ id, type: 'message', role: 'assistant', model });
