import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ByteRanges, type Span } from './byte-ranges.ts';

const span = fc.tuple(fc.nat(60), fc.nat(12)).map(([start, length]): Span => [start, start + length]);

it('covers what was added, in any order and with overlaps', () => {
  fc.assert(
    fc.property(fc.array(fc.array(span, { maxLength: 4 }), { maxLength: 6 }), span, (batches, [start, end]) => {
      const ranges = new ByteRanges();
      const bytes = new Set<number>();
      for (const batch of batches) {
        ranges.add(batch);
        for (const [from, to] of batch) for (let i = from; i < to; i++) bytes.add(i);
      }
      let all = true;
      for (let i = start; i < end; i++) all &&= bytes.has(i);
      expect(ranges.covers(start, end)).toBe(all);
      const spans = ranges.spans;
      for (let i = 1; i < spans.length; i++) expect(spans[i][0]).toBeGreaterThan(spans[i - 1][1]);
      expect(spans.reduce((sum, [from, to]) => sum + to - from, 0)).toBe(bytes.size);
    }),
  );
});
