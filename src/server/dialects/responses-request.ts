/**
 * @file Requests of OpenAI's responses (/v1/responses): their bodies, and the messages and tools in them.
 */
import * as v from 'valibot';
import { CACHE_FIELDS, readBody, refuseFields, samplingOptions, TOOL_NAME, textOrObject, userOf } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import type { SavedResponse, SavedResponses } from '../responses-store.ts';
import type { TurnMessage, TurnTool } from '../turn.ts';
import { contentText, parsedArguments, templateCall, toolsOf } from './tools.ts';
import type { DialectRequest } from './types.ts';

const Content = textOrObject(v.string(), v.array(v.looseObject({ type: v.string() })));
const Item = v.looseObject({ type: v.nullish(v.string()), role: v.nullish(v.string()), content: v.nullish(Content) });
const Tool = v.looseObject({
  type: v.literal('function', 'only tools of the type "function" are supported'),
  name: TOOL_NAME,
  description: v.nullish(v.string()),
  parameters: v.nullish(v.record(v.string(), v.unknown())),
  strict: v.nullish(v.boolean()),
});
const Format = v.variant('type', [
  v.looseObject({ type: v.literal('text') }),
  v.looseObject({ type: v.literal('json_object') }),
  v.looseObject({
    type: v.literal('json_schema'),
    schema: v.record(v.string(), v.unknown()),
  }),
]);
const Body = v.looseObject({
  ...CACHE_FIELDS,
  model: v.string(),
  input: textOrObject(v.string(), v.pipe(v.array(Item), v.minLength(1))),
  instructions: v.nullish(v.string()),
  previous_response_id: v.nullish(v.string()),
  user: v.nullish(v.string()),
  include: v.nullish(
    v.array(
      v.pipe(
        v.string(),
        v.notValue('message.output_text.logprobs', 'log probabilities are given by /v1/chat/completions'),
      ),
    ),
  ),
  stream: v.nullish(v.boolean()),
  store: v.nullish(v.boolean()),
  tools: v.nullish(v.pipe(v.array(Tool), v.maxLength(128))),
  tool_choice: v.nullish(
    textOrObject(
      v.picklist(['auto', 'none', 'required']),
      v.variant('type', [
        v.looseObject({ type: v.literal('function'), name: v.string() }),
        v.looseObject({
          type: v.literal('allowed_tools'),
          mode: v.picklist(['auto', 'required']),
          tools: v.pipe(
            v.array(v.looseObject({ type: v.literal('function'), name: v.string() })),
            v.minLength(1),
            v.maxLength(128),
          ),
        }),
      ]),
    ),
  ),
  parallel_tool_calls: v.nullish(v.boolean()),
  text: v.nullish(v.looseObject({ format: v.nullish(Format) })),
  reasoning: v.nullish(v.looseObject({ effort: v.nullish(v.string()) })),
  max_output_tokens: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  temperature: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(2))),
  top_p: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
  truncation: v.nullish(v.literal('disabled', 'nothing is left out of the input; use a class of caches that evicts')),
});
export type ResponsesBody = v.InferOutput<typeof Body>;

function choiceOf(choice: NonNullable<ResponsesBody['tool_choice']>): Parameters<typeof toolsOf>[1] {
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') return { name: choice.name };
  return { mode: choice.mode, allowed: choice.tools.map(({ name }) => name) };
}

const OBJECT = { type: 'object' };

const REFUSED = {
  background: 'answers are given to the request itself',
  conversation: 'there are no conversations; use previous_response_id',
  prompt: 'there are no saved prompts',
  max_tool_calls: 'tools of the server are not supported',
  top_logprobs: 'log probabilities are given by /v1/chat/completions',
};

const TEXTS = ['input_text', 'output_text', 'text', 'reasoning_text', 'summary_text'];

/** The input as messages. Calls and thoughts become parts of the message of the assistant that they belong to. */
function messagesOf(input: ResponsesBody['input']): TurnMessage[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  const messages: TurnMessage[] = [];
  const names = new Map<string, unknown>();
  let thoughts = '';
  /** A message of the assistant, with the thoughts before it. */
  const addAssistant = (message: TurnMessage) => {
    messages.push(thoughts === '' ? message : { ...message, reasoning_content: thoughts });
    thoughts = '';
  };
  for (const [i, item] of input.entries()) {
    const path = `input.${i}`;
    switch (item.type ?? 'message') {
      case 'message': {
        const content = contentText(item.content, TEXTS, `${path}.content`);
        if (!['user', 'system', 'developer', 'assistant'].includes(item.role ?? ''))
          throw new HttpError(400, `${path}.role: must be user, system, developer or assistant`, { param: path });
        if (item.role === 'assistant') addAssistant({ role: 'assistant', content });
        else messages.push({ role: item.role === 'developer' ? 'system' : item.role!, content });
        break;
      }
      case 'function_call': {
        const id = String(item['call_id']);
        names.set(id, item['name']);
        const call = templateCall(id, String(item['name']), parsedArguments(String(item['arguments'] ?? '{}')));
        const last = messages.at(-1);
        // Thoughts after a message begin the next one.
        if (last?.role !== 'assistant' || thoughts !== '')
          addAssistant({ role: 'assistant', content: '', tool_calls: [call] });
        else
          messages[messages.length - 1] = { ...last, tool_calls: [...((last['tool_calls'] as unknown[]) ?? []), call] };
        break;
      }
      case 'function_call_output': {
        const id = String(item['call_id']);
        const output = item['output'] as v.InferOutput<typeof Content> | undefined;
        const content = contentText(output, TEXTS, `${path}.output`);
        messages.push({ role: 'tool', tool_call_id: id, name: names.get(id), content });
        break;
      }
      case 'reasoning':
        thoughts += contentText(item.content, TEXTS, `${path}.content`);
        break;
      default:
        throw new HttpError(400, `${path}: items of type "${item.type}" are not supported`, { param: path });
    }
  }
  return messages;
}

/** The response that a request goes on from. @throws HttpError where it is not kept. */
function previousOf(saved: SavedResponses, id: string, key: string): SavedResponse {
  const found = saved.get(id, key);
  if (found) return found;
  throw new HttpError(404, `there is no response "${id.slice(0, 100)}"; send the whole conversation as input`, {
    code: 'previous_response_not_found',
    param: 'previous_response_id',
  });
}

/**
 * Reads the body of a request.
 * @param saved has the responses that it may go on from.
 * @throws HttpError
 */
export function readResponses(json: unknown, key: string, saved: SavedResponses): DialectRequest {
  const body = readBody(Body, json);
  refuseFields(body, REFUSED);
  const { instructions, previous_response_id: previous, temperature, top_p, session_id, cache } = body;
  const format = body.text?.format;
  const options = samplingOptions({ temperature, top_p }, body.max_output_tokens);
  const schema = format?.type === 'json_schema' ? format.schema : format?.type === 'json_object' ? OBJECT : null;
  const tools = body.tools?.map(
    ({ name, description, parameters, strict }): TurnTool => ({
      type: 'function',
      function: { name, ...(description ? { description } : {}), parameters, ...(strict ? { strict } : {}) },
    }),
  );
  const effort = body.reasoning?.effort;
  return {
    turns: [
      {
        model: body.model,
        input: {
          messages: [
            ...(instructions ? [{ role: 'system', content: instructions }] : []),
            ...(previous ? previousOf(saved, previous, key).messages : []),
            ...messagesOf(body.input),
          ],
          ...toolsOf(tools, choiceOf(body.tool_choice ?? 'auto')),
          variables: effort ? { reasoning_effort: effort, enable_thinking: effort !== 'none' } : {},
        },
        formatField: 'text.format',
        options: schema ? { ...options, format: { type: 'json_schema', schema } } : options,
        session: session_id ?? null,
        user: userOf(body.user),
        cacheClass: cache ?? null,
        singleCall: body.parallel_tool_calls === false,
        answers: 1,
      },
    ],
    stream: body.stream ?? false,
    includeUsage: true,
  };
}
