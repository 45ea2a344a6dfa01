import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineWrapper, wrapLine } from './wrap.ts';

function wrap(pieces: readonly string[], width: number, indent = ''): string {
  const wrapper = new LineWrapper(width, indent);
  return pieces.map((piece) => wrapper.push(piece)).join('') + wrapper.flush();
}

describe('LineWrapper', () => {
  it('breaks between words, each line with its indent', () => {
    expect(wrap(['the quick brown fox'], 11, '  ')).toBe('  the quick\n  brown fox');
  });

  it('keeps line ends, and words that are too long', () => {
    expect(wrap(['one\n\ntwo incomprehensible three'], 8)).toBe('one\n\ntwo\nincomprehensible\nthree');
  });

  it('holds back no more than the word that may go on', () => {
    const wrapper = new LineWrapper(20);
    expect(wrapper.push('And it ca')).toBe('And it');
    expect(wrapper.push('me to')).toBe(' came');
    expect(wrapper.flush()).toBe(' to');
  });

  it('does not depend on how the text is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 8 })), fc.integer({ min: 1, max: 30 }), (pieces, width) => {
        expect(wrap(pieces, width)).toBe(wrap([pieces.join('')], width));
      }),
    );
  });
});

describe('LineWrapper, spaces', () => {
  it('keeps the indent of code, and drops spaces at a break', () => {
    expect(wrap(['if x:\n    return one\n'], 40)).toBe('if x:\n    return one\n');
    expect(wrap(['one   two'], 5)).toBe('one\ntwo');
  });

  it('does not count colours', () => {
    expect(wrap(['\x1b[2mone two\x1b[22m three'], 7)).toBe('\x1b[2mone two\x1b[22m\nthree');
  });
});

describe('wrapLine', () => {
  it('keeps within any width, with the indent of the line', () => {
    expect(wrapLine('  memory    1.2 GB of weights', 14)).toBe(
      '  memory    \n  1.2 GB of\n  weights'.replace('    \n', '\n'),
    );
    fc.assert(
      fc.property(
        fc.stringMatching(/^ {0,3}([a-z]{1,9} {1,3}){0,20}[a-z]{1,9}$/),
        fc.integer({ min: 12, max: 60 }),
        (line, width) => {
          const lines = wrapLine(line, width).split('\n');
          for (const part of lines) expect(part.length).toBeLessThanOrEqual(width);
          expect(lines.join(' ').split(/ +/)).toEqual(line.split(/ +/));
        },
      ),
    );
  });
});
