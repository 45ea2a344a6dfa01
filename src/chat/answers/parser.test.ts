import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANSWER_FORMATS, answerFormatOf } from './formats.ts';
import { AnswerParser, type AnswerPart } from './parser.ts';

/** The parts of an answer that comes in these pieces; neighbouring texts are one. */
function partsOf(name: string, pieces: readonly string[], startsInReasoning = false): AnswerPart[] {
  const parser = new AnswerParser(ANSWER_FORMATS.find((format) => format.name === name)!, startsInReasoning);
  const parts: AnswerPart[] = [];
  for (const part of [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()]) {
    const last = parts.at(-1);
    if (last && last.type !== 'tool-call' && part.type === last.type)
      parts[parts.length - 1] = { type: last.type, text: last.text + part.text };
    else parts.push(part);
  }
  return parts;
}
const text = (value: string): AnswerPart => ({ type: 'text', text: value });
const reasoning = (value: string): AnswerPart => ({ type: 'reasoning', text: value });
const call = (name: string, args: Record<string, unknown> = {}): AnswerPart => ({
  type: 'tool-call',
  call: { name, arguments: args },
});

describe('answers', () => {
  it.each<[string, string, AnswerPart[]]>([
    ['hermes', 'Hello <b>', [text('Hello <b>')]],
    ['hermes', '<think>\nhm\n</think>\n\nYes.', [reasoning('\nhm\n'), text('\n\nYes.')]],
    [
      'hermes',
      'So: <tool_call>\n{"name": "f", "arguments": {"q": "a</tool_call>b"}}\n</tool_call>\n<tool_call>{"name":"g"}</tool_call>',
      [text('So: '), call('f', { q: 'a</tool_call>b' }), text('\n'), call('g')],
    ],
    ['mistral', '[TOOL_CALLS][{"name": "f", "arguments": {"n": 1}}, {"name": "g"}]', [call('f', { n: 1 }), call('g')]],
    ['llama', '<|python_tag|>{"name": "f", "parameters": {"n": 1}}', [call('f', { n: 1 })]],
    ['phi', '<|tool_call|>{"name": "f"}<|/tool_call|>.', [call('f'), text('.')]],
  ])('of %s: %s', (name, answer, expected) => {
    expect(partsOf(name, [answer])).toEqual(expected);
    expect(partsOf(name, Array.from(answer))).toEqual(expected);
  });

  it('keep a broken call as text, with its markers', () => {
    for (const answer of [
      '<tool_call>{"name": "f"',
      '<tool_call>no</tool_call>',
      'a<tool_call>{"name": 5}</tool_call>b',
    ])
      expect(partsOf('hermes', [answer])).toEqual([text(answer)]);
    expect(partsOf('mistral', ['[TOOL_CALLS][{"name"'])).toEqual([text('[TOOL_CALLS][{"name"')]);
  });

  it('may begin within thoughts', () => {
    expect(partsOf('think', ['hm</think>Yes'], true)).toEqual([reasoning('hm'), text('Yes')]);
    expect(partsOf('think', ['hm'], true)).toEqual([reasoning('hm')]);
  });

  it('have the same parts however they are cut', () => {
    const pieces = ANSWER_FORMATS.flatMap(({ reasoning: marks, call: marker }) => [...(marks ?? []), ...marker]);
    const piece = fc.constantFrom(
      ...pieces,
      '<',
      '|',
      '>',
      '{"name": "f", "arguments": {"x": "</tool_call>"}}',
      '[',
      ']',
      'a',
      ' ',
      '{"name"',
      '\n',
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...ANSWER_FORMATS),
        fc.array(piece, { maxLength: 12 }),
        fc.array(fc.nat(8)),
        (format, words, cuts) => {
          const answer = words.join('');
          const chopped: string[] = [];
          let at = 0;
          for (const cut of cuts) {
            chopped.push(answer.slice(at, at + cut));
            at += cut;
          }
          const whole = partsOf(format.name, [answer]);
          expect(partsOf(format.name, [...chopped, answer.slice(at)])).toEqual(whole);
          expect(partsOf(format.name, Array.from(answer))).toEqual(whole);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

it('are of the format that the chat template asks for', () => {
  expect(answerFormatOf('… <tool_call>\n{"name": …}\n</tool_call> …')?.name).toBe('hermes');
  expect(answerFormatOf('[TOOL_CALLS] …')?.name).toBe('mistral');
  expect(answerFormatOf("content.split('</think>')[-1]")?.name).toBe('think');
  expect(answerFormatOf('<|im_start|>')).toBeNull();
});
