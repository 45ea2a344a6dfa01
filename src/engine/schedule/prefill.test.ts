import { describe, expect, it } from 'vitest';
import { fakeShape } from '../../../test/support/fake-model.ts';
import { type AnyCacheOptions, createCache } from '../../kvcache/policies.ts';
import { defaultChunkLength } from './prefill.ts';

const shape = fakeShape({ windows: [null], groups: 2, heads: 2, headSize: 8 });

describe('the default length of chunks', () => {
  it.each<[number, string, Partial<AnyCacheOptions>, number]>([
    [512, 'as the engine wants it, where nothing depends on it', { policy: 'dense' }, 300],
    [256, 'where a policy evicts, but not yet', { policy: 'lastrec' }, 300],
    [256, 'where attention weights are wanted', { policy: 'h2o' }, 300],
    [64, 'where tokens of the prompt will be evicted', { policy: 'lastrec' }, 301],
    [64, 'where slots are rounded', { policy: 'dense', buffer: 'float16' }, 300],
  ])('is %i %s', (length, _, options, tokens) => {
    const cache = createCache({ ...shape, chunkLength: 512 }, {
      cacheLength: 300,
      ...options,
    } as AnyCacheOptions);
    expect(defaultChunkLength(cache, tokens)).toBe(length);
  });

  it('is 256 where the engine wants none', () => {
    expect(defaultChunkLength(createCache(shape, { policy: 'dense', cacheLength: 300 }), 300)).toBe(256);
  });
});
