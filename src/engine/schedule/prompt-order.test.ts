import { describe, expect, it } from 'vitest';
import { PromptPace, shortestFirst } from './prompt-order.ts';

/** What a model of 30 ms a step and 10 ms a token of a prompt measures in 20 rounds. */
function steadyPace(): PromptPace {
  const pace = new PromptPace();
  for (let round = 0; round < 20; round++) {
    pace.stepTook(30);
    pace.chunkTook(4, 40);
  }
  return pace;
}

describe('PromptPace', () => {
  it('gives chunks that take at most two steps', () => {
    const tokens = steadyPace().chunkLength;
    expect(tokens * 10).toBeLessThanOrEqual(60);
    expect(tokens * 10).toBeGreaterThan(30);
  });

  it('takes a short chunk before anything was measured', () => {
    expect(new PromptPace().chunkLength).toBe(8);
  });

  it('does not make chunks longer than two steps after one disturbed step', () => {
    const pace = steadyPace();
    pace.stepTook(3000);
    expect(pace.chunkLength * 10).toBeLessThanOrEqual(60);
  });

  it('follows steps that stay slower', () => {
    const pace = steadyPace();
    const before = pace.chunkLength;
    for (let round = 0; round < 40; round++) pace.stepTook(90);
    expect(pace.chunkLength).toBeGreaterThan(2 * before);
  });

  it('never goes below two tokens, nor above 64', () => {
    const pace = new PromptPace();
    pace.stepTook(1);
    pace.chunkTook(8, 800);
    expect(pace.chunkLength).toBe(2);
    const fast = new PromptPace();
    fast.stepTook(1000);
    fast.chunkTook(64, 64);
    expect(fast.chunkLength).toBe(64);
  });
});

describe('the order of prompts', () => {
  it('is by what is left, less their age', () => {
    const prompt = (promptLeft: number, passedOver: number) => ({ promptLeft, passedOver });
    const [long, short] = [prompt(4000, 0), prompt(10, 0)];
    expect(shortestFirst([long, short])).toBe(short);
    expect(shortestFirst([])).toBeUndefined();
    const old = prompt(4000, 250);
    expect(shortestFirst([old, short])).toBe(old);
  });

  it('reads a long prompt to its end, however many short ones come', () => {
    const long = { promptLeft: 640, passedOver: 0 };
    let rounds = 0;
    for (; long.promptLeft > 0; rounds++) {
      const other = { promptLeft: 32, passedOver: 0 };
      if (shortestFirst([long, other]) === long) long.promptLeft -= 64;
      else long.passedOver++;
    }
    expect(rounds).toBeLessThan(5 * 10 + 5);
  });
});
