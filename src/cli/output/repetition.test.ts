import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { repeatsItself } from './repetition.ts';

describe('repeatsItself', () => {
  it('finds a passage that is repeated often enough', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(500), { minLength: 1, maxLength: 48 }),
        fc.array(fc.nat(500), { maxLength: 40 }),
        (passage, before) => {
          const times = Math.max(8, Math.ceil(96 / passage.length));
          expect(repeatsItself([...before, ...Array.from({ length: times }, () => passage).flat()])).toBe(true);
        },
      ),
    );
  });

  it('leaves shorter repetitions, and repetitions that have ended', () => {
    const passage = [1, 2, 3, 4];
    expect(repeatsItself(Array.from({ length: 23 }, () => passage).flat())).toBe(false);
    expect(repeatsItself([...Array.from({ length: 30 }, () => passage).flat(), 9])).toBe(false);
    expect(repeatsItself(Array.from({ length: 300 }, (_, i) => i))).toBe(false);
    expect(repeatsItself([])).toBe(false);
  });
});
