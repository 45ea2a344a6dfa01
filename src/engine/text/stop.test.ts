import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../util/errors.ts';
import { StopMatcher } from './stop.ts';

/** The stop string that ends first in the text, of those that end together the longest. */
function firstStop(text: string, stops: readonly string[]): { start: number; stop: string } | null {
  for (let end = 1; end <= text.length; end++) {
    const here = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length);
    if (here.length > 0) return { start: end - here[0].length, stop: here[0] };
  }
  return null;
}

/** The longest end of the text that a stop string begins with. */
function mayBecome(text: string, stops: readonly string[]): string {
  for (let start = 0; start < text.length; start++)
    if (stops.some((stop) => stop.startsWith(text.slice(start)))) return text.slice(start);
  return '';
}

function feed(pieces: readonly string[], stops: readonly string[]) {
  const matcher = new StopMatcher(stops);
  let emitted = '';
  let stopped: string | undefined;
  for (const piece of pieces) {
    const match = matcher.push(piece);
    emitted += match.emit;
    stopped = match.stopped;
  }
  return { emitted: emitted + matcher.flush(), stopped };
}

const letters = (maxLength: number, minLength = 0) =>
  fc.string({ unit: fc.constantFrom('a', 'b', '😀', '😁'), minLength, maxLength });

describe('StopMatcher', () => {
  it('finds what searching the whole text finds, however it is cut', () => {
    fc.assert(
      fc.property(
        fc.array(letters(6), { maxLength: 12 }),
        fc.array(letters(5, 1), { minLength: 1, maxLength: 4 }),
        (pieces, stops) => {
          const text = pieces.join('');
          const first = firstStop(text, stops);
          const { emitted, stopped } = feed(pieces, stops);
          expect(stopped).toBe(first?.stop);
          expect(emitted).toBe(first ? text.slice(0, first.start) : text);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('holds back only what may still become a stop string', () => {
    fc.assert(
      fc.property(
        fc.array(letters(4), { maxLength: 8 }),
        fc.array(letters(5, 1), { maxLength: 3 }),
        (pieces, stops) => {
          const matcher = new StopMatcher(stops);
          let text = '';
          let emitted = '';
          for (const piece of pieces) {
            text += piece;
            const { emit, stopped } = matcher.push(piece);
            emitted += emit;
            if (stopped !== undefined) return;
            expect(emitted).toBe(text.slice(0, text.length - mayBecome(text, stops).length));
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('finds a stop string that overlaps a false start of itself', () => {
    expect(feed([...'aabaabaac'], ['aabaac'])).toEqual({ emitted: 'aab', stopped: 'aabaac' });
    expect(feed(['abab', 'abc', 'x'], ['ababc'])).toEqual({ emitted: 'ab', stopped: 'ababc' });
  });

  it('finds a short one inside the beginning of a long one', () => {
    expect(feed(['abcd', 'x'], ['abcde', 'bc'])).toEqual({ emitted: 'a', stopped: 'bc' });
  });

  it('takes the longest of those that end together', () => {
    expect(feed(['xUser:', 'y'], [':', 'User:', 'ser:'])).toEqual({ emitted: 'x', stopped: 'User:' });
  });

  it('gives nothing after a stop, and goes on saying which it was', () => {
    const matcher = new StopMatcher(['END']);
    expect(matcher.push('a END b')).toEqual({ emit: 'a ', stopped: 'END' });
    expect(matcher.push('more')).toEqual({ emit: '', stopped: 'END' });
    expect(matcher.flush()).toBe('');
  });

  it('gives what was held back at the end', () => {
    const matcher = new StopMatcher(['\n\nHuman:']);
    expect(matcher.push('yes\n\nHum').emit).toBe('yes');
    expect(matcher.flush()).toBe('\n\nHum');
    expect(matcher.flush()).toBe('');
  });

  it('lets all pass where there is nothing to stop at', () => {
    expect(feed(['a', '', 'b'], [])).toEqual({ emitted: 'ab', stopped: undefined });
  });

  it('goes through long text and long stop strings', () => {
    const stop = `${'a'.repeat(5000)}b`;
    const { emitted, stopped } = feed(Array.from({ length: 300 }, () => 'a'.repeat(100)).concat('b'), [stop]);
    expect(stopped).toBe(stop);
    expect(emitted).toBe('a'.repeat(25_000));
  });

  it('refuses empty ones and halves of characters', () => {
    expect(() => new StopMatcher(['a', ''])).toThrow(InputError);
    expect(() => new StopMatcher(['\ude00'])).toThrow(/half of a surrogate pair/);
  });
});
