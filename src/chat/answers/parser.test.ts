import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANSWER_FORMATS, type AnswerFormat, answerFormatOf, markerTokens } from './formats.ts';
import { AnswerParser, type AnswerParserOptions, type AnswerPart } from './parser.ts';

const formatOf = (name: string): AnswerFormat => ANSWER_FORMATS.find((format) => format.name === name)!;

/** The parts of an answer that comes in these pieces; neighbouring pieces of one kind are joined. */
function partsOf(format: AnswerFormat, pieces: readonly string[], options: AnswerParserOptions = {}): AnswerPart[] {
  const parser = new AnswerParser(format, options);
  const parts: AnswerPart[] = [];
  for (const part of [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()]) {
    const last = parts.at(-1);
    if (last && last.type !== 'call' && part.type === last.type)
      parts[parts.length - 1] = { type: last.type, text: last.text + part.text };
    else parts.push(part);
  }
  return parts;
}
const text = (value: string): AnswerPart => ({ type: 'text', text: value });
const reasoning = (value: string): AnswerPart => ({ type: 'reasoning', text: value });
const call = (name: string, args: unknown = {}): AnswerPart[] => [
  { type: 'call', name },
  { type: 'arguments', text: JSON.stringify(args) },
];

describe('answers', () => {
  it.each<[string, string, AnswerPart[]]>([
    ['hermes', 'Hello <b>', [text('Hello <b>')]],
    ['hermes', '<think>\nhm\n</think>\n\nYes.', [reasoning('\nhm\n'), text('\n\nYes.')]],
    [
      'hermes',
      'So: <tool_call>\n{"name": "f", "arguments": {"q": "a</tool_call>b"}}\n</tool_call>\n<tool_call>{"name":"g"}</tool_call>',
      [text('So: '), ...call('f', { q: 'a</tool_call>b' }), text('\n'), ...call('g')],
    ],
    [
      'mistral',
      '[TOOL_CALLS][{"name": "f", "arguments": {"n": 1}}, {"name": "g"}]',
      [...call('f', { n: 1 }), ...call('g')],
    ],
    [
      'mistral-args',
      'Ok.[TOOL_CALLS]f[ARGS]{"n": 1}[TOOL_CALLS]g[CALL_ID]a1[ARGS]{}',
      [text('Ok.'), ...call('f', { n: 1 }), ...call('g')],
    ],
    ['llama', '<|python_tag|>{"name": "f", "parameters": {"n": 1}}', call('f', { n: 1 })],
    [
      'llama',
      ' {"name": "f", "parameters": {"n": "{"}}; {"name": "g"}',
      [text(' '), ...call('f', { n: '{' }), ...call('g')],
    ],
    ['llama', 'See {"name": "f", "parameters": {}}', [text('See {"name": "f", "parameters": {}}')]],
    ['llama', '{"a": 1} is JSON', [text('{"a": 1} is JSON')]],
    ['phi', '<|tool_call|>{"name": "f"}<|/tool_call|>.', [...call('f'), text('.')]],
    [
      'cohere',
      '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "f", "parameters": {"n": 1}}]<|END_ACTION|>',
      call('f', { n: 1 }),
    ],
    [
      'deepseek',
      'a<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"n": 1}\n```<｜tool▁call▁end｜>\n' +
        '<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
      [text('a'), ...call('f', { n: 1 }), ...call('g')],
    ],
    [
      'harmony',
      '<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>' +
        '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"n": 1}<|call|>',
      [reasoning('hm'), text('I look.'), ...call('f', { n: 1 })],
    ],
    ['harmony', '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}', call('f')],
    [
      'harmony',
      '<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.',
      [reasoning('hm'), text('Yes.')],
    ],
    [
      'qwen3-coder',
      '<tool_call>\n<function=f>\n<parameter=q>\ntwo\nlines\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>',
      call('f', { q: 'two\nlines', n: 1 }),
    ],
    [
      'glm',
      '<tool_call>f\n<arg_key>q</arg_key>\n<arg_value>1</arg_value>\n<arg_key>n</arg_key>\n<arg_value>[2]</arg_value>\n</tool_call>',
      call('f', { q: '1', n: [2] }),
    ],
    [
      'pythonic',
      "[f(q='a\\'s', n=-1.5, on=True, no=None, l=[1, 'b',], d={'k': 2}), g()]",
      [...call('f', { q: "a's", n: -1.5, on: true, no: null, l: [1, 'b'], d: { k: 2 } }), ...call('g')],
    ],
    [
      'olmo3',
      '<function_calls>\nf(q="a")\ng(n=1)\n</function_calls>',
      [...call('f', { q: 'a' }), ...call('g', { n: 1 })],
    ],
    ['lfm2', '<|tool_call_start|>[f(q="]")]<|tool_call_end|>Ok', [...call('f', { q: ']' }), text('Ok')]],
    [
      'functiongemma',
      '<start_function_call>call:f{q:<escape>a, {b}<escape>,n:1,o:{k:[true]}}<end_function_call>',
      call('f', { q: 'a, {b}', n: 1, o: { k: [true] } }),
    ],
  ])('of %s: %s', (name, answer, expected) => {
    const tools = new Map<string, unknown>([
      ['f', { type: 'object', properties: { q: { type: 'string' }, n: {} } }],
      ['g', {}],
    ]);
    for (const pieces of [[answer], Array.from(answer)]) {
      expect(partsOf(formatOf(name), pieces, { tools })).toEqual(expected);
    }
  });

  it('keep a broken call as text, with its markers', () => {
    for (const answer of [
      '<tool_call>{"name": "f"',
      '<tool_call>no</tool_call>',
      'a<tool_call>{"name": 5}</tool_call>b',
      '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
    ])
      expect(partsOf(formatOf('hermes'), [answer])).toEqual([text(answer)]);
    for (const [name, answer] of [
      ['mistral', '[TOOL_CALLS][{"name"'],
      ['pythonic', '[f(a=b)]'],
      ['pythonic', '[f(a=1'],
      ['qwen3-coder', '<tool_call><function=f><parameter=n></function></tool_call>'],
      ['functiongemma', '<start_function_call>call:f{q:<escape>}<end_function_call>'],
    ])
      expect(partsOf(formatOf(name), [answer])).toEqual([text(answer)]);
  });

  it('keep a call of an unknown tool as text', () => {
    const answer = '<tool_call>{"name": "h"}</tool_call>';
    expect(partsOf(formatOf('hermes'), [answer], { tools: new Map([['f', {}]]) })).toEqual([text(answer)]);
  });

  it('may begin within thoughts', () => {
    expect(partsOf(formatOf('think'), ['hm</think>Yes'], { startsInReasoning: true })).toEqual([
      reasoning('hm'),
      text('Yes'),
    ]);
    expect(partsOf(formatOf('think'), ['hm'], { startsInReasoning: true })).toEqual([reasoning('hm')]);
  });

  it('give calls of an enforced form piece by piece, also where they are cut off', () => {
    const options = { enforced: true };
    const parser = new AnswerParser(formatOf('hermes'), options);
    const first = '<tool_call>\n{"name": "f", "arguments": {"q": "a}';
    expect(parser.push(first)).toEqual([
      { type: 'call', name: 'f' },
      { type: 'arguments', text: '{"q": "a}' },
    ]);
    const both = `${first}"}}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>Done`;
    const expected = [
      { type: 'call', name: 'f' },
      { type: 'arguments', text: '{"q": "a}"}' },
      ...call('g'),
      text('Done'),
    ];
    for (const pieces of [[both], Array.from(both)])
      expect(partsOf(formatOf('hermes'), pieces, options)).toEqual(expected);
    expect(partsOf(formatOf('hermes'), [first], options)).toHaveLength(2);
    expect(partsOf(formatOf('hermes'), ['<tool_call>\n{"name": "f'], options)).toEqual([
      text('<tool_call>\n{"name": "f'),
    ]);
    const list = '[TOOL_CALLS][{"name": "f", "arguments": {"n": [1]}}, {"name": "g", "arguments": {}}]';
    for (const pieces of [[list], Array.from(list)])
      expect(partsOf(formatOf('mistral'), pieces, options)).toEqual([
        { type: 'call', name: 'f' },
        { type: 'arguments', text: '{"n": [1]}' },
        ...call('g'),
      ]);
  });

  it('have the same parts however they are cut', () => {
    const marks = (format: AnswerFormat) => [
      ...(format.reasoning ?? []),
      ...(format.call?.starts.map((start) => start.text) ?? []),
      ...(format.call ? [format.call.end] : []),
      ...(format.dropped ?? []),
      ...markerTokens(format),
    ];
    const others = [
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
    ];
    const calls = [
      'f(x=1)',
      'f[ARGS]{}',
      'call:f{x:1}',
      '<function=f>',
      'f <|constrain|>json<|message|>{}',
      '; ',
      ', ',
    ];
    const cases = fc
      .constantFrom(...ANSWER_FORMATS)
      .chain((format) =>
        fc.tuple(
          fc.constant(format),
          fc.array(fc.constantFrom(...marks(format), ...marks(format), ...others, ...calls), { maxLength: 12 }),
        ),
      );
    fc.assert(
      fc.property(cases, fc.array(fc.nat(8)), ([format, words], cuts) => {
        const answer = words.join('');
        const chopped: string[] = [];
        let from = 0;
        for (const cut of cuts) {
          chopped.push(answer.slice(from, from + cut));
          from += cut;
        }
        const whole = partsOf(format, [answer]);
        expect(partsOf(format, [...chopped, answer.slice(from)])).toEqual(whole);
        expect(partsOf(format, Array.from(answer))).toEqual(whole);
      }),
      { numRuns: 2000 },
    );
  });
});

it('are of the format that the chat template asks for', () => {
  expect(answerFormatOf('… <tool_call>\n{"name": …}\n</tool_call> …')?.name).toBe('hermes');
  expect(answerFormatOf('… <tool_call>\n<function=example> …')?.name).toBe('qwen3-coder');
  expect(answerFormatOf('[TOOL_CALLS] …')?.name).toBe('mistral');
  expect(answerFormatOf('[TOOL_CALLS]f[ARGS] …')?.name).toBe('mistral-args');
  expect(answerFormatOf("content.split('</think>')[-1]")?.name).toBe('think');
  expect(answerFormatOf('<|im_start|>')).toBeNull();
});

it('name the tokens of their markers', () => {
  expect(markerTokens(formatOf('harmony'))).toEqual(
    expect.arrayContaining(['<|channel|>', '<|message|>', '<|start|>', '<|constrain|>', '<|call|>']),
  );
  expect(markerTokens(formatOf('mistral'))).toEqual(['[THINK]', '[/THINK]', '[TOOL_CALLS]']);
});
