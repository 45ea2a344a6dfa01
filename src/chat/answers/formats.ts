/**
 * @file How models write thoughts and calls of tools into their answers, a row of data each.
 */

/** Markers of one family's answers. */
export interface AnswerFormat {
  readonly name: string;
  /** A text of the chat templates that ask for this format. */
  readonly template: string;
  /** Around thoughts; null where the family has none. */
  readonly reasoning: readonly [start: string, end: string] | null;
  /** Around a call, which is JSON: an object or a list of objects. An empty end: it goes to the end of the answer. */
  readonly call: readonly [start: string, end: string];
}

const THINK = ['<think>', '</think>'] as const;

export const ANSWER_FORMATS: readonly AnswerFormat[] = [
  // Qwen 2.5 and 3, Hermes, SmolLM 3, and others that were trained on Hermes' form.
  { name: 'hermes', template: '<tool_call>', reasoning: THINK, call: ['<tool_call>', '</tool_call>'] },
  { name: 'mistral', template: '[TOOL_CALLS]', reasoning: ['[THINK]', '[/THINK]'], call: ['[TOOL_CALLS]', ''] },
  { name: 'granite', template: '<|tool_call|>', reasoning: THINK, call: ['<|tool_call|>', ''] },
  { name: 'phi', template: '<|tool_calls|>', reasoning: THINK, call: ['<|tool_call|>', '<|/tool_call|>'] },
  { name: 'jamba', template: '<tool_calls>', reasoning: null, call: ['<tool_calls>', '</tool_calls>'] },
  { name: 'llama', template: '<|python_tag|>', reasoning: null, call: ['<|python_tag|>', ''] },
  // Models that think and call no tools.
  { name: 'think', template: '</think>', reasoning: THINK, call: ['<tool_call>', '</tool_call>'] },
];

/** The format that a chat template asks for; null where none is known. */
export function answerFormatOf(template: string): AnswerFormat | null {
  return ANSWER_FORMATS.find((format) => template.includes(format.template)) ?? null;
}
