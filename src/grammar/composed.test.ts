import { describe, expect, it } from 'vitest';
import { tinyTokenizer } from '../../test/support/tokenizers.ts';
import { FormatError } from '../util/errors.ts';
import { compileFormat, grammarOf, type TextFormat } from './format.ts';
import { FormatSession } from './session.ts';

const takes = (format: TextFormat, text: string) => {
  const machine = compileFormat(format);
  return machine.run(machine.start, new TextEncoder().encode(text))?.complete ?? false;
};
const text = (value: string): TextFormat => ({ type: 'text', text: value });

describe('formats of formats', () => {
  const call: TextFormat = {
    type: 'sequence',
    parts: [
      text('<call>{"name": "f", "arguments": '),
      { type: 'json_schema', schema: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } },
      text('}</call>'),
    ],
  };
  const thoughts: TextFormat = { type: 'sequence', parts: [{ type: 'without', text: '</t>' }, text('</t>')] };
  const one = '<call>{"name": "f", "arguments": {"n": 1}}</call>';
  it.each<[TextFormat, string[], string[]]>([
    [call, [one], [one.slice(0, -1), `${one} `, one.replace('1', '"a"')]],
    [{ type: 'choice', of: [text('a'), text('ab'), call] }, ['a', 'ab', one], ['', 'abc', `a${one}`]],
    [
      { type: 'repeat', part: text('a'), min: 1, max: 3, separator: text(', ') },
      ['a', 'a, a', 'a, a, a'],
      ['', 'a,', 'aa', 'a, a, a, a'],
    ],
    [{ type: 'repeat', part: text('ab') }, ['', 'ab', 'ababab'], ['a', 'aba']],
    [{ type: 'repeat', part: text('ab'), min: 2 }, ['abab', 'ababab'], ['', 'ab', 'ababa']],
    [{ type: 'repeat', part: { type: 'without', text: 'x' } }, ['', 'abc'], ['axb']],
    [
      { type: 'sequence', parts: [thoughts, text('\n'), { type: 'json' }] },
      ['hm <t </t>\n[1]', '</t>\n{}'],
      ['{}', '</t></t>\n{}', 'hm</t>{}'],
    ],
    [
      {
        type: 'sequence',
        parts: [
          { type: 'repeat', part: { type: 'sequence', parts: [{ type: 'without', text: '<call>' }, call] } },
          { type: 'without', text: '<call>' },
        ],
      },
      ['', 'a <cal', `So: ${one}`, `${one}\n${one} done`],
      ['<call>', `a<call>${one}`],
    ],
  ])('%# take what they are made of', (format, right, wrong) => {
    for (const each of right) expect(takes(format, each), each).toBe(true);
    for (const each of wrong) expect(takes(format, each), each).toBe(false);
  });

  it.each([
    [{ type: 'text' }, /format\.text/],
    [{ type: 'without', text: '' }, /empty/],
    [{ type: 'sequence', parts: [] }, /format\.parts/],
    [{ type: 'choice', of: [{ type: 'regex' }] }, /format\.of\.0\.pattern/],
    [{ type: 'repeat', part: text('a'), min: 3, max: 2 }, /min and max/],
    [{ type: 'other' }, /format\.type/],
  ])('are refused where %j', (format, message) => {
    const refused = () => grammarOf(format as unknown as TextFormat, tinyTokenizer());
    expect(refused).toThrow(message);
    expect(refused).toThrow(FormatError);
  });

  it('that are nested without end are refused', () => {
    let deep = text('a');
    for (let i = 0; i < 50; i++) deep = { type: 'sequence', parts: [deep] };
    expect(() => grammarOf(deep, tinyTokenizer())).toThrow(/deeper/);
  });
});

describe('special tokens', () => {
  it('are written where a text names them, and nowhere else', () => {
    const tokenizer = tinyTokenizer();
    const [id] = tokenizer.specialTokenIds;
    const name = tokenizer.idToToken(id)!;
    const end = tokenizer.vocabSize;
    const allowed = (session: FormatSession) => {
      const mask = session.mask();
      return Array.from({ length: end + 1 }, (_, each) => each).filter(
        (each) => (mask[each >>> 5] >>> (each & 31)) & 1,
      );
    };
    const specials = (session: FormatSession) => allowed(session).filter((each) => tokenizer.specialTokenIds.has(each));
    const session = new FormatSession(
      grammarOf({ type: 'sequence', parts: [text(`a${name}`), { type: 'json' }] }, tokenizer),
      [end],
    );
    for (const token of tokenizer.encode('a', { addSpecialTokens: false })) session.accept(token);
    expect(allowed(session)).toEqual([id]);
    session.accept(id);
    expect(specials(session)).toEqual([]);
    for (const format of [
      { type: 'json' },
      { type: 'regex', pattern: '[^]*' },
      { type: 'without', text: 'x' },
    ] as const)
      expect(specials(new FormatSession(grammarOf(format, tokenizer), [end]))).toEqual([]);
  });
});
