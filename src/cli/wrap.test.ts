import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineWrapper } from './wrap.ts';

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
