import { describe, expect, it } from 'vitest';
import { namesIn, renameModules, splitNames, withUrls } from './policy-names.ts';

describe('names of policies', () => {
  it('are split at the commas that are not within brackets', () => {
    expect(splitNames('a, mix(b, ada(c)) ,d')).toEqual(['a', 'mix(b, ada(c))', 'd']);
    expect(namesIn('routed(./a.mjs, mix(h2o, echo))')).toEqual(['./a.mjs', 'h2o', 'echo']);
    expect(namesIn('./mix(a).mjs')).toEqual(['./mix(a).mjs']);
  });

  it('have URLs of modules, whose brackets and commas do not end a name', () => {
    const urlOf = (path: string) => `file:///x,(y)/${path}`;
    expect(withUrls('a.mjs', urlOf)).toBe('file:///x,(y)/a.mjs');
    const name = withUrls('routed(a.mjs, mix(h2o, b.mjs))', urlOf);
    expect(namesIn(name).map(decodeURIComponent)).toEqual(['file:///x,(y)/a.mjs', 'h2o', 'file:///x,(y)/b.mjs']);
    expect(renameModules('ada(dir/a.mjs)', () => 'b.mjs')).toBe('ada(b.mjs)');
  });
});
