/**
 * @file The form of an answer: what the request asks for, calls that are required or strict, and the thoughts before
 * them.
 */
import type { ToolSchemas } from '../chat/answers/bodies.ts';
import type { AnswerFormat, CallWriting } from '../chat/answers/formats.ts';
import type { TextFormat } from '../grammar/format.ts';
import type { FormatError } from '../util/errors.ts';
import { HttpError } from './http-error.ts';
import type { Turn, TurnTool } from './turn.ts';

export interface TurnFormat {
  /** null: any text. */
  readonly format: TextFormat | null;
  /** Whether a grammar enforces the form of calls. */
  readonly enforcesCalls: boolean;
}

/** Most calls of an answer whose form is enforced: a model may not find the end. */
const MAX_CALLS = 32;

/** The schemas of the tools' arguments; null: there are no tools. */
export function toolSchemas(tools: readonly TurnTool[] | undefined): ToolSchemas | null {
  if (!tools) return null;
  return new Map(
    tools.map(({ function: { name, parameters } }) => [name, { properties: {}, ...parameters, type: 'object' }]),
  );
}

/**
 * @param thinks where thoughts may come first.
 * @throws HttpError for calls that can't be enforced in the form of the model.
 */
export function turnFormatOf(
  { input, options, singleCall }: Turn,
  answers: AnswerFormat | null,
  thinks: 'never' | 'maybe' | 'begun',
): TurnFormat {
  const asked = options.format ?? null;
  const tools = 'messages' in input ? input.tools : undefined;
  if (!tools || !('messages' in input))
    return { format: asked && withThoughts(asked, answers, thinks), enforcesCalls: false };
  const choice = input.toolChoice ?? 'auto';
  const strict = tools.findIndex((tool) => tool.function.strict === true);
  if (choice === 'auto' && strict < 0 && !asked) return { format: null, enforcesCalls: false };
  const write = answers?.call?.write;
  if (!write) {
    const param = choice !== 'auto' ? 'tool_choice' : asked ? 'response_format' : `tools.${strict}.function.strict`;
    throw new HttpError(
      400,
      `${param}: the tool calls of this model can't be enforced; leave it out, or use another model`,
      { param },
    );
  }
  const wanted = typeof choice === 'string' ? tools : tools.filter((tool) => tool.function.name === choice.name);
  if (wanted.length === 0)
    throw new HttpError(400, 'tool_choice: there is no tool of this name in tools', { param: 'tool_choice' });
  const calls = callsFormat(write, toolSchemas(wanted)!, singleCall || typeof choice !== 'string' ? 1 : MAX_CALLS);
  if (choice !== 'auto') return { format: withThoughts(calls, answers, thinks), enforcesCalls: true };
  if (asked)
    return { format: withThoughts({ type: 'choice', of: [calls, asked] }, answers, thinks), enforcesCalls: true };
  return { format: freeText(calls, write, answers!), enforcesCalls: true };
}

/** One call or several, as the family writes them. */
function callsFormat(write: CallWriting, tools: ToolSchemas, most: number): TextFormat {
  const { open, before, after, last, between, close } = write;
  const call = (name: string, schema: unknown): TextFormat => ({
    type: 'sequence',
    parts: [
      text(before + name + after),
      { type: 'json_schema', schema: schema as Readonly<Record<string, unknown>> },
      text(last),
    ],
  });
  const one: TextFormat = { type: 'choice', of: Array.from(tools, ([name, schema]) => call(name, schema)) };
  const all: TextFormat = { type: 'repeat', part: one, separator: text(between), min: 1, max: most };
  return { type: 'sequence', parts: [text(open), all, text(close)] };
}

/** Any text, and calls in it. */
function freeText(calls: TextFormat, { open, before }: CallWriting, answers: AnswerFormat): TextFormat {
  const [start] = answers.call!.starts;
  // Calls that have no marker are the whole answer.
  if (!(open + before).startsWith(start.text))
    return { type: 'choice', of: [calls, { type: 'regex', pattern: '(?:[^{\\s][^]*)?' }] };
  const free: TextFormat = { type: 'without', text: start.text };
  return { type: 'sequence', parts: [{ type: 'repeat', part: { type: 'sequence', parts: [free, calls] } }, free] };
}

function withThoughts(
  format: TextFormat,
  answers: AnswerFormat | null,
  thinks: 'never' | 'maybe' | 'begun',
): TextFormat {
  if (!answers?.reasoning || thinks === 'never') return format;
  const [start, end] = answers.reasoning;
  const space: TextFormat = { type: 'regex', pattern: '\\n{0,2}' };
  const rest: readonly TextFormat[] = [{ type: 'without', text: end }, text(end), space];
  if (thinks === 'begun') return { type: 'sequence', parts: [...rest, format] };
  const thoughts: TextFormat = { type: 'sequence', parts: [text(start), ...rest] };
  return { type: 'sequence', parts: [{ type: 'repeat', part: thoughts, max: 1 }, format] };
}

const text = (value: string): TextFormat => ({ type: 'text', text: value });

/** A form that can't be enforced, as an answer. */
export function refusedFormat({ options, formatField }: Turn, { message }: FormatError): HttpError {
  return new HttpError(400, message, { param: options.format ? (formatField ?? 'response_format') : 'tools' });
}
