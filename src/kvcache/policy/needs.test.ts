import { describe, expect, it } from 'vitest';
import { asksFor, type Need, needsBy, queryStepOf, REDUCTIONS, type Reduction } from './needs.ts';

describe('asksFor', () => {
  it('is true of the reduction that makes a need, wherever it stands among others', () => {
    const all = Object.keys(REDUCTIONS) as Need[];
    for (const reduction of ['sum', 'max', 'echo'] satisfies Reduction[]) {
      const [own, others] = [needsBy(reduction, all), all.filter((need) => REDUCTIONS[need] !== reduction)];
      expect(own.length).toBeGreaterThan(0);
      for (const need of own) expect(asksFor(reduction, [...others, need]), need).toBe(true);
      expect(asksFor(reduction, others)).toBe(false);
      expect(asksFor(reduction, [])).toBe(false);
    }
    expect(asksFor('echo', ['own-echo'])).toBe(true);
  });
});

describe('queryStepOf', () => {
  it('leaves queries out only where no sum counts them', () => {
    expect(queryStepOf(['sampled-sums', 'own-echo'])).toBe(4);
    expect(queryStepOf(['sampled-sums', 'chunk-sums'])).toBe(1);
    expect(queryStepOf(['sums'])).toBe(1);
  });
});
