/**
 * @file OpenAI's responses (/v1/responses).
 */
import * as v from 'valibot';
import { CACHE_FIELDS, readBody, refuseFields, samplingOptions, TOOL_NAME, textOrObject, userOf } from '../fields.ts';
import { HttpError, toHttpError } from '../http-error.ts';
import type { SavedResponse, SavedResponses } from '../responses-store.ts';
import type { Routes } from '../routes.ts';
import { event } from '../sse.ts';
import type { ChoiceEvent, TurnEnd, TurnEvent, TurnMessage, TurnTool } from '../turn.ts';
import { type Answer, type AnswerPart, answerOf } from './answer.ts';
import { type BlockEvent, blocksIn, blocksOf } from './blocks.ts';
import { openaiError } from './openai.ts';
import { contentText, parsedArguments, templateCall, toolsOf } from './tools.ts';
import type { AnswerFacts, Dialect } from './types.ts';

const Content = v.union([v.string(), v.array(v.looseObject({ type: v.string() }))]);
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
  input: v.union([v.string(), v.pipe(v.array(Item), v.minLength(1))]),
  instructions: v.nullish(v.string()),
  previous_response_id: v.nullish(v.string()),
  user: v.nullish(v.string()),
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
type ResponsesBody = v.InferOutput<typeof Body>;

function choiceOf(choice: NonNullable<ResponsesBody['tool_choice']>): Parameters<typeof toolsOf>[1] {
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') return { name: choice.name };
  return { mode: choice.mode, allowed: choice.tools.map(({ name }) => name) };
}

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
  /** Adds to the last message of the assistant, or begins one. */
  const addToAssistant = (add: (last: TurnMessage) => TurnMessage, joins: (last: TurnMessage) => boolean) => {
    const last = messages.at(-1);
    const reasoning = thoughts === '' ? {} : { reasoning_content: thoughts };
    thoughts = '';
    if (last?.role === 'assistant' && joins(last)) messages[messages.length - 1] = { ...add(last), ...reasoning };
    else messages.push({ ...add({ role: 'assistant', content: '' }), ...reasoning });
  };
  for (const [i, item] of input.entries()) {
    const path = `input.${i}`;
    switch (item.type ?? 'message') {
      case 'message': {
        const content = contentText(item.content, TEXTS, `${path}.content`);
        if (!['user', 'system', 'developer', 'assistant'].includes(item.role ?? ''))
          throw new HttpError(400, `${path}.role: must be user, system, developer or assistant`, { param: path });
        if (item.role === 'assistant')
          addToAssistant(
            (last) => ({ ...last, content }),
            () => false,
          );
        else messages.push({ role: item.role === 'developer' ? 'system' : item.role!, content });
        break;
      }
      case 'function_call': {
        const id = String(item['call_id']);
        names.set(id, item['name']);
        const call = templateCall(id, String(item['name']), parsedArguments(String(item['arguments'] ?? '{}')));
        addToAssistant(
          (last) => ({ ...last, tool_calls: [...((last['tool_calls'] as unknown[] | undefined) ?? []), call] }),
          () => thoughts === '',
        );
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

/** An answer as the message that follows its prompt. */
function answerMessage({ text, reasoning, calls }: Answer): TurnMessage {
  return {
    role: 'assistant',
    content: text,
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0
      ? {}
      : { tool_calls: calls.map((call) => templateCall(call.id, call.name, parsedArguments(call.arguments))) }),
  };
}

/** @param status of the item. */
function itemOf(part: AnswerPart, id: string, status: 'completed' | 'incomplete' | 'in_progress') {
  if (part.type === 'call')
    return { type: 'function_call', id, call_id: part.id, name: part.name, arguments: part.arguments, status };
  const started = status !== 'in_progress';
  if (part.type === 'reasoning')
    return { type: 'reasoning', id, summary: [], content: started ? [contentOf(part)] : [], status };
  return { type: 'message', id, status, role: 'assistant', content: started ? [contentOf(part)] : [] };
}

const contentOf = (part: AnswerPart) => {
  if (part.type === 'reasoning') return { type: 'reasoning_text', text: part.text };
  return { type: 'output_text', text: part.type === 'text' ? part.text : '', annotations: [], logprobs: [] };
};

const PREFIXES = { text: 'msg', reasoning: 'rs', call: 'fc' } as const;
const itemId = ({ id }: AnswerFacts, part: AnswerPart, index: number) =>
  `${PREFIXES[part.type]}_${id.slice('resp_'.length)}${index}`;

function usageOf({ usage, reasoningTokens }: TurnEnd) {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens },
    output_tokens: usage.completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: usage.promptTokens + usage.completionTokens,
  };
}

/** A response object. @param answer null: it is being written. */
function responseOf(facts: AnswerFacts, answer: Answer | null) {
  const body = facts.body as ResponsesBody;
  const cut = answer?.end.finish === 'length';
  const parts = answer ? blocksIn(answer.parts) : [];
  return {
    id: facts.id,
    object: 'response',
    created_at: facts.created,
    status: answer ? (cut ? 'incomplete' : 'completed') : 'in_progress',
    error: null,
    incomplete_details: cut ? { reason: 'max_output_tokens' } : null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    model: facts.model,
    output: parts.map((part, i) =>
      itemOf(part, itemId(facts, part, i), cut && i === parts.length - 1 ? 'incomplete' : 'completed'),
    ),
    output_text: answer?.text ?? '',
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: body.previous_response_id ?? null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    store: body.store ?? true,
    temperature: body.temperature ?? null,
    text: body.text ?? { format: { type: 'text' } },
    tool_choice: body.tool_choice ?? 'auto',
    tools: body.tools ?? [],
    top_p: body.top_p ?? null,
    truncation: 'disabled',
    usage: answer ? usageOf(answer.end) : null,
    metadata: body['metadata'] ?? {},
  };
}

/** `GET` and `DELETE` of `/v1/responses/ID`: a response that is kept, for the key that asked for it. */
export function addResponseRoutes(app: Routes, saved: SavedResponses): void {
  const missing = (id: string) =>
    new HttpError(404, `there is no response "${id.slice(0, 100)}"`, { param: 'response_id' });
  app.get('/v1/responses/:id', (c) => {
    const id = c.req.param('id');
    if (c.req.query('stream') === 'true')
      throw new HttpError(400, 'stream: a response is kept when it is whole, and is given as a whole', {
        param: 'stream',
      });
    const found = saved.get(id, c.get('key'));
    if (!found) throw missing(id);
    return c.json(found.response);
  });
  app.delete('/v1/responses/:id', (c) => {
    const id = c.req.param('id');
    if (!saved.delete(id, c.get('key'))) throw missing(id);
    return c.json({ id, object: 'response', deleted: true });
  });
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

/** @param saved gets the responses, and has the earlier ones. */
export function responses(saved: SavedResponses): Dialect {
  const finish = (facts: AnswerFacts, events: readonly TurnEvent[]) => {
    const answer = answerOf(events);
    const body = facts.body as ResponsesBody;
    const { input } = facts.turns[0];
    const response = responseOf(facts, answer);
    if ((body.store ?? true) && 'messages' in input) {
      // The instructions of a response are not those of the next one.
      const messages = body.instructions ? input.messages.slice(1) : input.messages;
      saved.add({ id: facts.id, key: facts.key, messages: [...messages, answerMessage(answer)], response });
    }
    return response;
  };
  return {
    idPrefix: 'resp_',
    read(json, key) {
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
    },
    whole: (facts, [events]) => finish(facts, events),
    async *stream(facts, events) {
      let number = 0;
      const send = (type: string, data: object) => event({ type, sequence_number: number++, ...data }, type);
      const all: TurnEvent[] = [];
      const kept = async function* (): AsyncGenerator<ChoiceEvent, void, undefined> {
        for await (const each of events) {
          all.push(each.event);
          yield each;
        }
      };
      yield send('response.created', { response: responseOf(facts, null) });
      yield send('response.in_progress', { response: responseOf(facts, null) });
      try {
        for await (const each of blocksOf(kept())) {
          if (each.type !== 'end') yield* blockEvents(facts, each, send);
          else {
            const response = finish(facts, all);
            yield send(`response.${response.status}`, { response });
          }
        }
      } catch (error) {
        const { code, message, type } = toHttpError(error).body;
        const failed = { ...responseOf(facts, null), status: 'failed', error: { code: code ?? type, message } };
        yield send('response.failed', { response: failed });
        throw error;
      }
    },
    error: openaiError,
    streamError: () => null,
  };
}

const OBJECT = { type: 'object' };

function* blockEvents(
  facts: AnswerFacts,
  each: Exclude<BlockEvent, { readonly type: 'end' }>,
  send: (type: string, data: object) => string,
): Generator<string> {
  const { index: output_index, part } = each;
  const item_id = itemId(facts, part, output_index);
  const item = { item_id, output_index };
  const content = { ...item, content_index: 0 };
  if (each.type === 'start') {
    yield send('response.output_item.added', { output_index, item: itemOf(part, item_id, 'in_progress') });
    if (part.type !== 'call') yield send('response.content_part.added', { ...content, part: contentOf(part) });
  } else if (each.type === 'delta') {
    if (part.type === 'call') yield send('response.function_call_arguments.delta', { ...item, delta: each.text });
    else if (part.type === 'reasoning') yield send('response.reasoning_text.delta', { ...content, delta: each.text });
    else yield send('response.output_text.delta', { ...content, delta: each.text, logprobs: [] });
  } else {
    if (part.type === 'call')
      yield send('response.function_call_arguments.done', { ...item, name: part.name, arguments: part.arguments });
    else {
      if (part.type === 'reasoning') yield send('response.reasoning_text.done', { ...content, text: part.text });
      else yield send('response.output_text.done', { ...content, text: part.text, logprobs: [] });
      yield send('response.content_part.done', { ...content, part: contentOf(part) });
    }
    yield send('response.output_item.done', { output_index, item: itemOf(part, item_id, 'completed') });
  }
}
