/**
 * What docs/cache.md says of memory is what is allocated: formulas and figures are read from its table.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blockCodec } from '../src/kvcache/buffers/blocks.ts';
import { BUFFERS, type BufferKind } from '../src/kvcache/buffers.ts';
import { createCache } from '../src/kvcache/policies.ts';
import { fakeStep } from './support/fake-graph.ts';
import { FakeModel, type FakeShape, fakeShape } from './support/fake-model.ts';

const KINDS = Object.keys(BUFFERS) as BufferKind[];
const page = await readFile(join(import.meta.dirname, '../docs/cache.md'), 'utf8');
/** The table's rows by their buffer: the cells behind it. */
const ROWS = new Map(
  [...page.matchAll(/^\| `(float32|float16|int8|int5|int4)` +\|( [\d.·]*D .+)\|$/gm)].map(([, kind, rest]) => [
    kind as BufferKind,
    rest.split('|').map((cell) => cell.trim()),
  ]),
);

/**
 * Bytes of a token, layer and group by a formula of the page: `8·D`, or `2·D + 4·(S + 1)`. Keys and values have whole
 * bytes each.
 */
function evaluate(formula: string, D: number): number {
  const [, factor, scales] = /^(?:([\d.]+)·)?D( \+ 4·\(S \+ 1\))?$/.exec(formula) ?? expect.fail(`what is ${formula}?`);
  const S = D % 32 === 0 ? D / 32 : 1;
  return 2 * Math.ceil((Number(factor ?? 1) * D) / 2) + (scales ? 4 * (S + 1) : 0);
}

/** Bytes allocated for each of a few tokens. */
function allocated(buffer: BufferKind, shape: FakeShape): number {
  const tokens = 5;
  const model = new FakeModel(fakeShape(shape), 1);
  const cache = createCache(model.shape, { policy: 'dense', cacheLength: 100, buffer }, 1);
  fakeStep(model, cache, [Array.from({ length: tokens }, (_, i) => i)]);
  return cache.memory().keysAndValues / tokens;
}

const SMALL: FakeShape = { windows: new Array(6).fill(null), groups: 2, heads: 4, headSize: 32 };
const LLAMA: FakeShape = { windows: new Array(16).fill(null), groups: 8, heads: 4, headSize: 64 };

describe('docs/cache.md', () => {
  it('tells the memory of every buffer', () => {
    expect([...ROWS.keys()]).toEqual(KINDS.filter((kind) => !kind.endsWith('-plain')));
  });

  it.each(KINDS)('tells the bytes that %s allocates', (kind) => {
    const [formula, small, llama] = ROWS.get(kind.replace('-plain', '') as BufferKind)!;
    for (const headSize of [6, 32, 40, 64, 80, 96, 128])
      for (const groups of [1, 3]) {
        const shape = { windows: [null, null], groups, heads: 1, headSize };
        expect(allocated(kind, shape)).toBe(2 * groups * evaluate(formula, headSize));
      }
    expect(allocated(kind, SMALL).toLocaleString('en')).toBe(small);
    expect(allocated(kind, LLAMA).toLocaleString('en')).toBe(llama);
  });

  it('tells the limit of its example', () => {
    // As the ggml engine stores it: in blocks.
    const shape = { ...fakeShape(SMALL), memory: { blocks: blockCodec } };
    const cache = createCache(shape, { policy: 'lastrec', cacheLength: 128, buffer: 'int8' });
    expect(page).toContain(`a limit of ${cache.memory().keysAndValuesLimit.toLocaleString('en')} bytes`);
  });
});
