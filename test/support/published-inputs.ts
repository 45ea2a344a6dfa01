/**
 * @file What published templates and tokenizers are tried with.
 */
import { COMMON_TEXTS } from './nasty-texts.ts';

/** Texts that tokenizers are wrong about. */
export const TEXTS = [
  ...COMMON_TEXTS,
  '<s>a</s>',
  '<|im_start|>user\nhi<|im_end|>',
  '\r\n\r\n',
  ' \n ',
  'a b  c   d    e',
  '<bos>',
  '<start_of_turn>user',
  '<eos> <eos>',
  ' <s> x',
  '</s></s>',
  '<unk>',
  '[INST] a [/INST]',
  '<|begin_of_text|>x',
  '<｜begin▁of▁sentence｜>a',
  '<|endoftext|>\n\n',
  "'s 't 're 'S",
  "O'Neil's",
  'CamelCaseWordsHERE',
  'snake_case_word',
  '1234567890123',
  '0x1f 1e-10',
  '$100.50 €5',
  'https://a.b/c?d=e&f#g',
  'foo@bar.com',
  '#!/bin/sh\n\techo "hi"\n',
  '{"a": [1, 2], "b": null}',
  'ﬁ ﬂ ℃ ①',
  'Straße GROẞ',
  'İıſK',
  'e\u0301\u0302\u0303',
  '\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35',
  '𝒜𝓑 𐍈',
  '\u2028x\u2029',
  '……——',
  '“q” ‘r’',
  '\u001b[0m',
  'a'.repeat(20) + '\n'.repeat(20),
  '﷽',
  'ꙮ',
  'x\u0300'.repeat(30),
  'ab'.repeat(500),
  'Ünïcödé',
  'ΑΣ ΣΑΣ',
  '\ud83d\ude00\u200d',
  '½¾',
  '½a1b',
  'a\u0000b',
];

type Message = Readonly<Record<string, unknown>>;
const [user, answer, system] = ['user', 'assistant', 'system'].map(
  (role) =>
    (content: string): Message => ({ role, content }),
);
const call = (args: object, more: object = {}): Message => ({
  role: 'assistant',
  tool_calls: [{ id: 'abc123xyz', type: 'function', function: { name: 'look_up', arguments: args } }],
  ...more,
});
const result: Message = { role: 'tool', name: 'look_up', tool_call_id: 'abc123xyz', content: '{"found": true}' };
const properties = {
  q: { type: 'string', description: 'what', enum: ['a', 'b'] },
  n: { type: ['integer', 'null'], default: null },
  deep: { type: 'boolean', default: false },
};
const parameters = { type: 'object', properties, required: ['q'], additionalProperties: false };
const TOOLS = [
  {
    type: 'function',
    function: { name: 'look_up', description: 'Find a "thing" <in> the index', parameters, strict: true },
  },
];
const TALKS: Readonly<Record<string, readonly Message[]>> = {
  plain: [user('Hello'), answer('Hi.'), user('Bye')],
  system: [system('  Be brief.\n'), user('Hello')],
  'empty system': [system(''), user('a')],
  spaces: [user('  in\n\n'), answer('\n    code\n'), user('x')],
  thought: [user('q'), answer('<think>\nhm\n</think>\n\n    indented\n'), user('again')],
  reasoning: [user('q'), { role: 'assistant', content: '\n  final', reasoning_content: '\n  why\n' }, user('more')],
  'tools, content empty': [
    user('find'),
    call({ q: 'a', n: 1, deep: true }, { content: '' }),
    result,
    answer('Found.'),
    user('thanks'),
  ],
  'tools, content null': [user('find'), call({ q: 'a' }, { content: null }), result],
  'tools, no content': [user('find'), call({ q: 'a' }), result],
};

/** Conversations with and without tools. */
export const CONVERSATIONS = Object.entries(TALKS).flatMap(([name, messages]) => [
  ...(name.startsWith('tools') ? [] : [{ name, messages, tools: undefined }]),
  { name: `${name} + tools`, messages, tools: TOOLS },
]);
