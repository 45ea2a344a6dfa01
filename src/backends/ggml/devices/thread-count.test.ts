import { describe, expect, it } from 'vitest';
import { ThreadCount } from './thread-count.ts';

/**
 * A processor with `cores` cores of which `taken` are used by others, and graphs of `work` milliseconds of one core.
 */
function simulate(threads: number, work = 30, slowdown = 20) {
  const now = { wall: 0, cpu: 0, preempted: 0 };
  const count = new ThreadCount(threads, () => ({ ...now }));
  return {
    count,
    step(taken: number, graph = 'graph'): number {
      const used = count.next(graph);
      const alone = work / used;
      const isCrowded = used > threads - taken;
      // Threads without a core make all of them wait.
      const wall = isCrowded ? slowdown * alone : alone;
      now.wall += wall;
      now.cpu += isCrowded ? wall * (threads - taken + 0.3) : wall * used;
      now.preempted += isCrowded ? wall / 4 : 0;
      count.done();
      now.wall += 1;
      return used;
    },
  };
}

describe('ThreadCount', () => {
  it('uses all threads while they get their cores', () => {
    const { step } = simulate(4);
    for (let i = 0; i < 200; i++) expect(step(0)).toBe(4);
  });

  it('leaves out a thread whose core another process holds, tries it again rarely, and takes it back when it is free', () => {
    const { step } = simulate(2);
    step(1);
    const used = Array.from({ length: 2000 }, () => step(1));
    expect(used.filter((threads) => threads === 2).length).toBeLessThan(20);
    const later = Array.from({ length: 1000 }, () => step(0));
    expect(later.at(-1)).toBe(2);
    expect(later.indexOf(2)).toBeLessThan(600);
  });

  it('keeps a thread whose core is taken only at times, where the graph takes longer without it', () => {
    const { step } = simulate(2, 30, 1.3);
    const used = Array.from({ length: 500 }, () => step(1));
    expect(used.filter((threads) => threads === 1).length).toBeLessThan(30);
  });

  it('learns that leaving a thread out is in vain: it is tried less and less often', () => {
    const { step } = simulate(2, 400, 1.3);
    const used = Array.from({ length: 500 }, () => step(1));
    const alone = used.flatMap((threads, i) => (threads === 1 ? [i] : []));
    expect(alone.length).toBeGreaterThan(2);
    expect(alone.length).toBeLessThan(15);
    expect(alone.every((at, i) => i === 0 || at > alone[i - 1] + 1)).toBe(true);
  });

  it('keeps all threads after one disturbance', () => {
    const { step } = simulate(2);
    step(0);
    step(1);
    for (let i = 0; i < 100; i++) expect(step(0)).toBe(2);
  });

  it('learns that leaving a thread out is in vain where two graphs alternate', () => {
    const { step } = simulate(2, 100, 1.3);
    const used = Array.from({ length: 500 }, (_, i) => step(1, i % 2 ? 'step' : 'chunk'));
    expect(used).toContain(1);
    expect(used.filter((threads) => threads === 1).length).toBeLessThan(40);
  });

  it('steps down further where more cores are taken, and never below one', () => {
    const { step, count } = simulate(4);
    expect(Math.min(...Array.from({ length: 10 }, () => step(3)))).toBe(1);
    expect(count.current).toBeLessThan(4);
    const { step: one } = simulate(1);
    for (let i = 0; i < 10; i++) expect(one(1)).toBe(1);
  });
});
