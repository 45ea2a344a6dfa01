import { describe, expect, it } from 'vitest';
import { InputError } from './errors.ts';
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

describe('types of options', () => {
  const known = {
    topK: 'number',
    name: 'string',
    echo: 'boolean',
    onStep: 'function',
    ids: 'list',
    stop: 'strings',
    cache: 'object',
    signal: 'signal',
    any: true,
  } as const;
  const check = (options: object) => () => checkOptionNames('generate', options, known);

  it('passes values of the type', () => {
    const { signal } = new AbortController();
    const fine = {
      topK: Number.NaN,
      name: '',
      echo: false,
      onStep: check,
      ids: new Uint32Array(2),
      stop: ['a'],
      cache: {},
      signal,
    };
    expect(check({ ...fine, any: null })).not.toThrow();
    expect(check({ ids: [], stop: 'a' })).not.toThrow();
  });

  it.each([
    [{ topK: '5' }, 'topK of generate must be a number, but is "5"'],
    [{ name: 5 }, 'name of generate must be a string, but is 5'],
    [{ echo: 'yes' }, 'echo of generate must be true or false, but is "yes"'],
    [{ onStep: {} }, 'onStep of generate must be a function, but is an object'],
    [{ ids: 5n }, 'ids of generate must be an array, but is 5'],
    [{ stop: [1] }, 'stop of generate must be a string or an array of strings, but is an array'],
    [{ cache: null }, 'cache of generate must be an object, but is null'],
    [{ cache: [] }, 'cache of generate must be an object, but is an array'],
    [{ signal: {} }, 'signal of generate must be an AbortSignal, but is an object'],
    [{ name: Symbol('s') }, 'but is Symbol(s)'],
  ])('refuses %o', (options, message) => {
    expect(check(options)).toThrow(message);
    expect(check(options)).toThrow(InputError);
  });

  it.each([null, 5, 'x', [], () => 1])('refuses %o in place of options', (options) => {
    expect(check(options as object)).toThrow(/^the options of generate must be an object, but are /);
  });
});

describe('closestName', () => {
  it('counts swapped letters as one change', () => {
    expect(closestName('toKp', ['topK', 'stop'])).toBe('topK');
    expect(closestName('xyz', ['topK'])).toBeUndefined();
  });
});
