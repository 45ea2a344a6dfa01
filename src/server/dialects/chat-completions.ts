/**
 * @file OpenAI's chat completions (POST /v1/chat/completions).
 */
import * as v from 'valibot';
import {
  COMMON_FIELDS,
  commonOf,
  maxTokens,
  REFUSED_FIELDS,
  readBody,
  refuseFields,
  samplingOptions,
  TOOL_NAME,
  textOrObject,
} from '../fields.ts';
import { event } from '../sse.ts';
import type { TurnEnd, TurnMessage } from '../turn.ts';
import type { MessagesInput } from '../turn-prompt.ts';
import { type AnswerCall, answerOf } from './answer.ts';
import { DONE, finishOf, headOf, keyholdOf, logprobsOf, openaiError, usageOf } from './openai.ts';
import { FORM_FIELDS, formOf } from './text-form.ts';
import { contentText, parsedArguments, toolsOf } from './tools.ts';
import type { Dialect } from './types.ts';

const Call = v.looseObject({ function: v.looseObject({ name: v.string(), arguments: v.nullish(v.string()) }) });
const Message = v.looseObject({
  role: v.picklist(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: v.nullish(textOrObject(v.string(), v.array(v.looseObject({ type: v.string() })))),
  tool_calls: v.nullish(v.array(Call)),
});
const Tool = v.looseObject({
  type: v.literal('function'),
  function: v.looseObject({
    name: TOOL_NAME,
    parameters: v.nullish(v.record(v.string(), v.unknown())),
    strict: v.nullish(v.boolean()),
  }),
});
const Named = v.looseObject({ name: v.string() });
const Choice = textOrObject(
  v.picklist(['auto', 'none', 'required']),
  v.variant('type', [
    v.looseObject({ type: v.literal('function'), function: Named }),
    v.looseObject({
      type: v.literal('allowed_tools'),
      allowed_tools: v.looseObject({
        mode: v.picklist(['auto', 'required']),
        tools: v.pipe(
          v.array(v.looseObject({ type: v.literal('function'), function: Named })),
          v.minLength(1),
          v.maxLength(128),
        ),
      }),
    }),
  ]),
);
/** What the other fields of a request say. */
const OWN_VARIABLES = ['messages', 'tools', 'add_generation_prompt'];
const TemplateVariable = v.pipe(
  v.string(),
  v.check(
    (name) => !OWN_VARIABLES.includes(name),
    ({ input }) => `the variable ${input} of the chat template can't be set; the request's other fields say it`,
  ),
);
/** What the prompt is made of. */
const PROMPT_FIELDS = {
  messages: v.pipe(v.array(Message), v.minLength(1)),
  tools: v.nullish(v.pipe(v.array(Tool), v.maxLength(128))),
  tool_choice: v.nullish(Choice),
  reasoning_effort: v.nullish(v.string()),
  chat_template_kwargs: v.nullish(v.record(TemplateVariable, v.unknown())),
};
const PromptBody = v.looseObject({
  ...PROMPT_FIELDS,
  model: v.nullish(v.string()),
  add_generation_prompt: v.nullish(v.boolean()),
});
const Body = v.looseObject({
  ...COMMON_FIELDS,
  ...FORM_FIELDS,
  ...PROMPT_FIELDS,
  max_completion_tokens: maxTokens(1),
  max_tokens: maxTokens(1),
  logprobs: v.nullish(v.boolean()),
  top_logprobs: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(20))),
  parallel_tool_calls: v.nullish(v.boolean()),
  modalities: v.nullish(v.array(v.literal('text', 'only text is written'))),
  add_generation_prompt: v.nullish(v.literal(true, 'an answer needs its beginning; POST /v1/completions needs none')),
});

const REFUSED_PROMPT = {
  continue_final_message: 'a message is answered, not continued; POST /v1/completions continues a text',
  chat_template: "only the model's own chat template is used; templates of requests are not run",
};
const REFUSED = {
  ...REFUSED_FIELDS,
  ...REFUSED_PROMPT,
  documents: 'chat templates get messages and tools; put the documents into a message',
  echo: 'the prompt is not repeated; POST /apply-template shows it',
  functions: 'this field is gone; use tools',
  function_call: 'this field is gone; use tool_choice',
  audio: 'only text is written',
  web_search_options: 'there is no search',
};

function messageOf(message: v.InferOutput<typeof Message>, i: number): TurnMessage {
  const { role, content, tool_calls: calls, ...rest } = message;
  return {
    ...rest,
    role: role === 'developer' ? 'system' : role,
    content: contentText(content, ['text'], `messages.${i}.content`),
    ...(calls
      ? {
          tool_calls: calls.map((call) => ({
            ...call,
            function: { ...call.function, arguments: parsedArguments(call.function.arguments ?? '{}') },
          })),
        }
      : {}),
  };
}

function choiceOf(choice: v.InferOutput<typeof Choice>): Parameters<typeof toolsOf>[1] {
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') return { name: choice.function.name };
  const { mode, tools } = choice.allowed_tools;
  return { mode, allowed: tools.map((tool) => tool.function.name) };
}

function inputOf(body: v.InferOutput<typeof PromptBody>): MessagesInput {
  const effort = body.reasoning_effort;
  return {
    messages: body.messages.map(messageOf),
    ...toolsOf(body.tools, choiceOf(body.tool_choice ?? 'auto')),
    variables: {
      ...body.chat_template_kwargs,
      ...(effort ? { reasoning_effort: effort, enable_thinking: effort !== 'none' } : {}),
    },
  };
}

/** The prompt of a body that asks for no answer. @throws HttpError names the field. */
export function readChatPrompt(json: unknown) {
  const body = readBody(PromptBody, json);
  refuseFields(body, REFUSED_PROMPT);
  return {
    model: body.model ?? undefined,
    input: inputOf(body),
    addGenerationPrompt: body.add_generation_prompt ?? undefined,
  };
}

export const chatCompletions: Dialect = {
  idPrefix: 'chatcmpl-',
  read(json) {
    const body = readBody(Body, json);
    refuseFields(body, REFUSED);
    const form = formOf(body);
    const options = {
      ...samplingOptions(body, body.max_completion_tokens ?? body.max_tokens),
      ...(form && { format: form.format }),
    };
    const { turn, delivery } = commonOf(body);
    return {
      turns: [
        {
          ...turn,
          input: inputOf(body),
          formatField: form?.field,
          options: body.logprobs ? { ...options, topLogprobs: body.top_logprobs ?? 0 } : options,
          singleCall: body.parallel_tool_calls === false,
        },
      ],
      ...delivery,
    };
  },
  whole(facts, choices) {
    const answers = choices.map(answerOf);
    const ends = answers.map(({ end }) => end);
    return {
      ...headOf(facts, 'chat.completion'),
      choices: answers.map(({ text, reasoning, calls, tokens, end }, index) => ({
        index,
        message: {
          role: 'assistant',
          content: calls.length > 0 && text.trim() === '' ? null : text,
          refusal: null,
          ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
          ...(calls.length > 0 ? { tool_calls: calls.map(callOf) } : {}),
        },
        logprobs: tokens.length > 0 ? logprobsOf(tokens) : null,
        finish_reason: finishOf(end),
      })),
      usage: usageOf(ends),
      keyhold: keyholdOf(ends),
    };
  },
  async *stream(facts, events) {
    const head = headOf(facts, 'chat.completion.chunk');
    const chunk = (index: number, delta: unknown, more: { logprobs?: unknown; finish_reason?: string } = {}) =>
      event({
        ...head,
        choices: [{ index, delta, logprobs: null, finish_reason: null, ...more }],
        ...(facts.includeUsage ? { usage: null } : {}),
      });
    /** Numbers of calls, by answer. */
    const calls = new Map<number, number>();
    const ends: TurnEnd[] = [];
    for await (const { index, event: each } of events) {
      const count = calls.get(index);
      if (count === undefined) {
        calls.set(index, 0);
        yield chunk(index, { role: 'assistant', content: '' });
      }
      if (each.type === 'text') {
        if (each.text === '' && !each.tokens?.length) continue;
        yield chunk(index, { content: each.text }, each.tokens ? { logprobs: logprobsOf(each.tokens) } : {});
      } else if (each.type === 'reasoning') yield chunk(index, { reasoning_content: each.text });
      else if (each.type === 'call') {
        const call = { id: each.id, type: 'function', function: { name: each.name, arguments: '' } };
        yield chunk(index, { tool_calls: [{ index: count ?? 0, ...call }] });
        calls.set(index, (count ?? 0) + 1);
      } else if (each.type === 'arguments')
        yield chunk(index, { tool_calls: [{ index: count! - 1, function: { arguments: each.text } }] });
      else if (each.type === 'end') {
        ends.push(each);
        yield chunk(index, {}, { finish_reason: finishOf(each) });
      }
    }
    if (facts.includeUsage) yield event({ ...head, choices: [], usage: usageOf(ends), keyhold: keyholdOf(ends) });
    yield DONE;
  },
  error: openaiError,
  streamError: (error) => event(openaiError(error)),
};

const callOf = ({ id, name, arguments: text }: AnswerCall) => ({
  id,
  type: 'function',
  function: { name, arguments: text },
});
