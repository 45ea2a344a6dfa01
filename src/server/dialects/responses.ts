/**
 * @file OpenAI's responses (/v1/responses): answers, and the responses that are kept.
 */
import { HttpError, toHttpError } from '../http-error.ts';
import type { SavedResponses } from '../responses-store.ts';
import type { Routes } from '../routes/routes.ts';
import { event } from '../sse.ts';
import type { ChoiceEvent, TurnEnd, TurnEvent, TurnMessage } from '../turn.ts';
import { type Answer, type AnswerPart, answerOf } from './answer.ts';
import { type BlockEvent, blocksIn, blocksOf } from './blocks.ts';
import { openaiError } from './openai.ts';
import { type ResponsesBody, readResponses } from './responses-request.ts';
import { parsedArguments, templateCall } from './tools.ts';
import type { AnswerFacts, Dialect } from './types.ts';

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
    read: (json, key) => readResponses(json, key, saved),
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
