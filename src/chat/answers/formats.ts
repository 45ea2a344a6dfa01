/**
 * @file How models write thoughts and calls of tools into their answers, a row of data each.
 */
import { checkText } from '../../util/arguments.ts';
import type { CallBody } from './bodies.ts';

/** What a call begins with. */
export interface CallStart {
  /** The marker, as the model writes it. */
  readonly text: string;
  /** The marker counts at the beginning of the answer only, and is a part of the call. @default false */
  readonly first?: boolean;
}

/** How a family writes calls. */
export interface CallSyntax {
  /** What calls begin with: any of these. */
  readonly starts: readonly CallStart[];
  /** What calls end with. Empty: a call goes to the next start, or to the end of the answer. */
  readonly end: string;
  /** How name and arguments are written between start and end. */
  readonly body: CallBody;
  /** How the server asks for calls where one is required; null: that can't be asked for. */
  readonly write: CallWriting | null;
}

/**
 * The parts of written calls: `open` call `between` call `close`. A call is `before`, its name, `after`, its arguments
 * as JSON, `last`.
 */
export interface CallWriting {
  readonly open: string;
  readonly before: string;
  readonly after: string;
  readonly last: string;
  readonly between: string;
  readonly close: string;
}

/** Markers of one family's answers. */
export interface AnswerFormat {
  /** Name of the format, which is that of a family of models. */
  readonly name: string;
  /** Texts of the chat templates that ask for this format, all of them. */
  readonly template: readonly string[];
  /** Around thoughts; null where the family has none. */
  readonly reasoning: readonly [start: string, end: string] | null;
  /** null: the family has no calls. */
  readonly call: CallSyntax | null;
  /** Markers that are no part of the text. */
  readonly dropped?: readonly string[];
  /** Special tokens within calls. */
  readonly inner?: readonly string[];
}

const THINK = ['<think>', '</think>'] as const;

/** Calls as JSON objects with a name and arguments, each with its markers. */
function jsonCalls(start: string, end: string, space = ''): CallSyntax {
  const [before, after, last] = [`${start}${space}{"name": "`, '", "arguments": ', `}${space}${end}`];
  const write = end === '' ? null : { open: '', before, after, last, between: '\n', close: '' };
  return { starts: [{ text: start }], end, body: 'json', write };
}

/** Calls as one list of JSON objects. */
function jsonList(
  start: string,
  end: string,
  names: readonly [name: string, args: string] = ['name', 'arguments'],
): CallSyntax {
  const [before, after] = [`{"${names[0]}": "`, `", "${names[1]}": `];
  return {
    starts: [{ text: start }],
    end,
    body: 'json',
    write: { open: `${start}[`, before, after, last: '}', between: ', ', close: `]${end}` },
  };
}

const LLAMA: CallSyntax = {
  starts: [{ text: '<|python_tag|>' }, { text: '{', first: true }],
  end: '',
  body: 'json',
  write: { open: '', before: '{"name": "', after: '", "parameters": ', last: '}', between: '; ', close: '' },
};

/** The first that fits a template counts. */
export const ANSWER_FORMATS: readonly AnswerFormat[] = [
  {
    name: 'harmony',
    template: ['<|channel|>'],
    reasoning: ['<|channel|>analysis<|message|>', '<|end|>'],
    call: {
      starts: [
        { text: '<|channel|>commentary to=functions.' },
        { text: '<|start|>assistant to=functions.' },
        { text: '<|channel|>analysis to=functions.' },
      ],
      end: '<|call|>',
      body: 'named',
      write: null,
    },
    inner: ['<|constrain|>'],
    dropped: [
      '<|channel|>final<|message|>',
      '<|channel|>commentary<|message|>',
      '<|start|>assistant',
      '<|end|>',
      '<|return|>',
    ],
  },
  {
    name: 'deepseek',
    template: ['<｜tool▁calls▁begin｜>'],
    reasoning: THINK,
    call: {
      starts: [{ text: '<｜tool▁calls▁begin｜>' }],
      end: '<｜tool▁calls▁end｜>',
      body: 'deepseek',
      write: null,
    },
    inner: ['<｜tool▁call▁begin｜>', '<｜tool▁sep｜>', '<｜tool▁call▁end｜>'],
  },
  {
    name: 'qwen3-coder',
    template: ['<function='],
    reasoning: THINK,
    call: { starts: [{ text: '<tool_call>' }], end: '</tool_call>', body: 'xml', write: null },
  },
  {
    name: 'glm',
    template: ['<arg_key>'],
    reasoning: THINK,
    call: { starts: [{ text: '<tool_call>' }], end: '</tool_call>', body: 'pairs', write: null },
  },
  // Qwen 2.5 and 3, Hermes, SmolLM 3, Granite 4, and others that were trained on Hermes' form.
  {
    name: 'hermes',
    template: ['<tool_call>'],
    reasoning: THINK,
    call: jsonCalls('<tool_call>', '</tool_call>', '\n'),
  },
  {
    name: 'mistral-args',
    template: ['[ARGS]'],
    reasoning: ['[THINK]', '[/THINK]'],
    call: {
      starts: [{ text: '[TOOL_CALLS]' }],
      end: '',
      body: 'named',
      write: { open: '', before: '[TOOL_CALLS]', after: '[ARGS]', last: '', between: '', close: '' },
    },
    inner: ['[ARGS]', '[CALL_ID]'],
  },
  {
    name: 'mistral',
    template: ['[TOOL_CALLS]'],
    reasoning: ['[THINK]', '[/THINK]'],
    call: jsonList('[TOOL_CALLS]', ''),
  },
  { name: 'granite', template: ['<|tool_call|>'], reasoning: THINK, call: jsonList('<|tool_call|>', '') },
  { name: 'phi', template: ['<|tool_calls|>'], reasoning: THINK, call: jsonCalls('<|tool_call|>', '<|/tool_call|>') },
  { name: 'jamba', template: ['<tool_calls>'], reasoning: null, call: jsonList('<tool_calls>', '</tool_calls>') },
  { name: 'nemotron', template: ['<TOOLCALL>'], reasoning: THINK, call: jsonList('<TOOLCALL>', '</TOOLCALL>') },
  {
    name: 'cohere',
    template: ['<|START_ACTION|>'],
    reasoning: ['<|START_THINKING|>', '<|END_THINKING|>'],
    call: jsonList('<|START_ACTION|>', '<|END_ACTION|>', ['tool_name', 'parameters']),
    dropped: ['<|START_RESPONSE|>', '<|END_RESPONSE|>'],
  },
  {
    name: 'functiongemma',
    template: ['<start_function_call>'],
    reasoning: null,
    call: { starts: [{ text: '<start_function_call>' }], end: '<end_function_call>', body: 'gemma', write: null },
    inner: ['<escape>'],
  },
  {
    name: 'lfm2',
    template: ['<|tool_call_start|>'],
    reasoning: THINK,
    call: { starts: [{ text: '<|tool_call_start|>' }], end: '<|tool_call_end|>', body: 'python', write: null },
  },
  {
    name: 'olmo3',
    template: ['<function_calls>'],
    reasoning: THINK,
    call: { starts: [{ text: '<function_calls>' }], end: '</function_calls>', body: 'python', write: null },
  },
  {
    name: 'pythonic',
    template: ['[func_name1('],
    reasoning: null,
    call: {
      starts: [{ text: '<|python_start|>' }, { text: '[', first: true }],
      end: '',
      body: 'python',
      write: null,
    },
    dropped: ['<|python_end|>'],
  },
  { name: 'llama', template: ['<|python_tag|>'], reasoning: null, call: LLAMA },
  { name: 'llama', template: ['"parameters": dictionary of argument'], reasoning: null, call: LLAMA },
  // Models that think and call no tools.
  { name: 'think', template: ['</think>'], reasoning: THINK, call: null },
];

/** The format that a chat template asks for; null where none is known. @throws InputError for what is no text. */
export function answerFormatOf(template: string): AnswerFormat | null {
  checkText('answerFormatOf', 'the text of a chat template', template);
  return ANSWER_FORMATS.find((format) => format.template.every((text) => template.includes(text))) ?? null;
}

/** Names of what may be special tokens of the markers: they must be a part of the text that is read. */
export function markerTokens({ reasoning, call, dropped = [], inner = [] }: AnswerFormat): readonly string[] {
  const texts = [...(reasoning ?? []), ...(call?.starts.map(({ text }) => text) ?? []), call?.end ?? '', ...dropped];
  return [...new Set([...texts.flatMap((text) => text.match(/<[^<>]+>|\[[^[\]]+\]/g) ?? []), ...inner])];
}
