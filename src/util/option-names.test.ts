import { describe, expect, it } from 'vitest';
import { checkOptionNames, closestName } from './option-names.ts';

const KNOWN = { temperature: true, maxNewTokens: true, topK: true, topP: true } as const;

describe('checkOptionNames', () => {
  it('passes what is known, and what is undefined', () => {
    expect(() => checkOptionNames('generate', { topK: 1, maxTokens: undefined }, KNOWN)).not.toThrow();
  });

  it('names the option that was probably meant', () => {
    for (const [given, meant] of [
      ['temperatur', 'temperature'],
      ['maxTokens', 'maxNewTokens'],
      ['maxNewToken', 'maxNewTokens'],
      ['top_k', 'topK'],
      ['topk', 'topK'],
    ])
      expect(() => checkOptionNames('generate', { [given]: 1 }, KNOWN)).toThrow(
        `generate has no option ${given}; did you mean ${meant}?`,
      );
  });

  it('lists all where none is near, and says the name of what is called otherwise elsewhere', () => {
    expect(() => checkOptionNames('generate', { colour: 1 }, KNOWN)).toThrow(
      'generate has no option colour; there are maxNewTokens, temperature, topK, topP',
    );
    expect(() => checkOptionNames('generate', { most: 1 }, KNOWN, { most: 'maxNewTokens' })).toThrow(
      'generate has no option most; it is called maxNewTokens here',
    );
    expect(() => checkOptionNames('generate', { toString: 1 }, KNOWN)).toThrow('no option toString');
  });
});

describe('closestName', () => {
  it('counts swapped letters as one change', () => {
    expect(closestName('toKp', ['topK', 'stop'])).toBe('topK');
    expect(closestName('xyz', ['topK'])).toBeUndefined();
  });
});
