import { describe, expect, it } from 'vitest';
import type { CompareResult } from './compare.ts';
import { measuredWords, plotComparison } from './plot.ts';
import { niceTicks, seriesStyle, sharedDashes } from './plot-style.ts';

const row = (policy: string, budget: number, perplexity: number): CompareResult => ({
  policy,
  budget,
  perplexity,
  windows: 4,
  recall: { after: budget },
  cases: 1,
  msPerToken: 2,
  cacheBytes: 1000 * budget,
});
const NAMES = Array.from({ length: 13 }, (_, i) => `policy-with-a-long-name-${i}`);
const rows = [row('dense', 1, 30), ...NAMES.flatMap((name, i) => [row(name, 0.1, 40 + i), row(name, 0.5, 35)])];

/** Numbers of an attribute. */
const numbers = (svg: string, attribute: string) =>
  [...svg.matchAll(new RegExp(` ${attribute}="([-\\d.]+)"`, 'g'))].map(([, value]) => Number(value));

describe('plotComparison', () => {
  it('draws a line and points of its own colour for each policy', () => {
    const svg = plotComparison(rows);
    const colours = new Set(NAMES.map((_, i) => seriesStyle(i).colour));
    expect(colours.size).toBe(NAMES.length);
    for (const colour of colours) {
      expect(svg).toContain(`stroke="${colour}"`);
      expect(svg).toContain(`fill="${colour}"`);
    }
    for (const name of NAMES) expect(svg).toContain(`>${name}<`);
  });

  it('keeps within the picture, labels included', () => {
    const svg = plotComparison(rows);
    const [width, height] = [numbers(svg, 'width')[0], numbers(svg, 'height')[0]];
    const labels = [
      ...svg.matchAll(/translate\(([\d.]+) ([\d.]+)\)">(?:<path[^>]*>|<circle[^>]*>)+<text[^>]*>([^<]+)</g),
    ];
    expect(labels).toHaveLength(NAMES.length + 1);
    for (const [, x, y, text] of labels) {
      expect(Number(x) + 34 + text.length * 6.6).toBeLessThanOrEqual(width);
      expect(Number(y)).toBeLessThan(height);
    }
    for (const y of numbers(svg, 'cy')) expect(y).toBeGreaterThanOrEqual(0);
  });

  it('draws intervals as far as the panel reaches', () => {
    const wide = {
      ...row('a', 0.5, 30),
      perplexityInterval: [15, 90],
      recallIntervals: { after: [0.25, 0.5] },
    } as const;
    const ends = (svg: string) =>
      [...svg.matchAll(/<path d="M[\d.]+ ([\d.]+)V([\d.]+)"/g)].map(([, from, to]) => [Number(from), Number(to)]);
    const [[low, high], [from, to]] = ends(plotComparison([row('dense', 1, 30), wide]));
    // 0 lies at 194 and the largest value, 30, at 30; what is above is cut.
    expect([low, high]).toEqual([112, 30]);
    expect([from, to]).toEqual([153, 112]);
    expect(ends(plotComparison(rows))).toEqual([]);
  });

  it('has axes that begin at 0', () => {
    const svg = plotComparison(rows);
    expect(svg.match(/text-anchor="end"[^>]*>0( %)?</g)).toHaveLength(4);
  });

  it('says on how much it was measured', () => {
    const intervals = { perplexityInterval: [20, 40], recallIntervals: { after: [0.9, 1] } } as const;
    const enough = [{ ...rows[0], ...intervals }];
    expect(measuredWords(enough)).toBe('4 windows of text, 1 recall case');
    expect(plotComparison(enough)).toContain('4 windows of text, 1 recall case');
    expect(measuredWords([{ ...enough[0], windows: undefined, cases: 1200 }])).toBe('1,200 recall cases');
    const words = '4 windows of text (too few for intervals), 1 recall case (too few for intervals)';
    expect(measuredWords(rows)).toBe(words);
  });

  it('draws one policy under one budget', () => {
    const svg = plotComparison([row('dense', 1, 30), row('a<b', 0.2, 31)]);
    expect(svg).toContain('a&#60;b');
    expect(svg).not.toContain('NaN');
  });
});

describe('the parts of a plot', () => {
  it('has ticks that are round and cover all values', () => {
    expect(niceTicks(61.2)).toEqual([0, 20, 40, 60, 80]);
    expect(niceTicks(1)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(niceTicks(0)).toEqual([0, 1]);
    for (const high of [0.013, 0.7, 3, 9.99, 123, 98765]) {
      const ticks = niceTicks(high);
      expect(ticks[0]).toBe(0);
      expect(ticks.at(-1)!).toBeGreaterThanOrEqual(high);
      expect(ticks.length).toBeGreaterThanOrEqual(3);
      expect(ticks.length).toBeLessThanOrEqual(7);
    }
  });

  it('lets lines that lie on each other take turns', () => {
    expect(sharedDashes(['a', 'b', 'a'])).toEqual([
      ' stroke-dasharray="6 6" stroke-dashoffset="0"',
      '',
      ' stroke-dasharray="6 6" stroke-dashoffset="-6"',
    ]);
  });
});
