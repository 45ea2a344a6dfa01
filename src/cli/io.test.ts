import { describe, expect, it } from 'vitest';
import { keyhold, TextSink } from '../../test/support/cli.ts';
import { shown, widthOf } from './io.ts';

describe('what is shown', () => {
  it('holds no control characters on a terminal', () => {
    const text = 'a\x1b]0;title\x07\tb\r\n\x9bc é 語';
    expect(shown(text, new TextSink(80))).toBe('a\uFFFD]0;title\uFFFD\tb\uFFFD\n\uFFFDc é 語');
    expect(shown(text, new TextSink())).toBe(text);
  });

  it('neither in errors', async () => {
    const args = ['generate', 'x', '-m', './no\x1b[31mwhere'];
    const { stderr } = await keyhold(args, { terminal: 80, env: { NO_COLOR: '1' } });
    expect(stderr).toContain('./no\uFFFD[31mwhere: does not exist');
  });
});

describe('the width', () => {
  it('is 80 where nobody knows it', () => {
    expect([new TextSink(), new TextSink(0), new TextSink(50)].map(widthOf)).toEqual([80, 80, 50]);
  });
});
