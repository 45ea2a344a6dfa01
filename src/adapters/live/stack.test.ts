import { expect, it } from 'vitest';
import type { Matrix } from '../types.ts';
import type { LiveAdapter, Piece } from './live-adapter.ts';
import { stackOf } from './stack.ts';

const filled = (rows: number, cols: number, value: number): Matrix => ({
  rows,
  cols,
  data: new Float32Array(rows * cols).fill(value),
});

function adapter(name: string, out: number | null, pieces: readonly Piece[]): LiveAdapter {
  const hooks = new Map([['x', { out, pieces, scale: null, shift: null }]]);
  return { name, fingerprint: name, hooks, norms: new Map(), prefixes: new Map() };
}

/** A piece of `rank` over columns start … start + cols, of one number. */
const piece = (rank: number, start: number, cols: number, value: number): Piece => ({
  a: filled(rank, 3, value),
  b: filled(rank, cols, value),
  start,
});

it('small ones lie in one matrix, with zeros where a piece does not reach', () => {
  const one = adapter('one', 5, [piece(1, 0, 2, 1), piece(2, 2, 3, 2)]);
  const two = adapter('two', 5, [piece(1, 1, 1, 3)]);
  const { a, blocks, runs } = stackOf('x', [one, two]);
  expect([...a.data]).toEqual([1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3]);
  expect(blocks).toHaveLength(1);
  expect([...blocks[0].data]).toEqual([1, 1, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 2, 2, 2, 0, 3, 0, 0, 0]);
  expect(runs).toEqual([one, one, two].map((own, i) => ({ adapter: own, ranks: [1, 2, 1][i] })));
});

it('one adapter over all columns is used as it is', () => {
  const only = piece(2, 0, 5, 1);
  const { a, blocks } = stackOf('x', [adapter('one', 5, [only])]);
  expect(a).toBe(only.a);
  expect(blocks).toEqual([only.b]);
  expect(blocks[0]).toBe(only.b);
});

it('large ones lie in blocks, the ranks of each block behind each other', () => {
  const wide = 2 ** 15;
  const one = adapter('one', 2 * wide, [piece(2, 0, wide, 1), piece(2, wide, wide, 2)]);
  const two = adapter('two', 2 * wide, [piece(1, 0, wide, 3), piece(1, wide, wide, 4)]);
  const { a, blocks, runs } = stackOf('x', [one, two]);
  expect(a.data.filter((_, i) => i % 3 === 0)).toEqual(Float32Array.of(1, 1, 3, 2, 2, 4));
  expect(blocks.map(({ rows, cols }) => [rows, cols])).toEqual([
    [3, wide],
    [3, wide],
  ]);
  expect(runs.map(({ adapter: { name }, ranks }) => [name, ranks])).toEqual([
    ['one', 2],
    ['two', 1],
    ['one', 2],
    ['two', 1],
  ]);
});

it('blocks that leave columns out, or overlap, become one', () => {
  const wide = 2 ** 16;
  for (const pieces of [
    [piece(2, 0, wide, 1)],
    [piece(2, 0, wide, 1), piece(2, 0, 2 * wide, 2)],
    [piece(2, 0, wide, 1), piece(2, wide + 1, wide - 1, 2)],
  ])
    expect(stackOf('x', [adapter('one', 2 * wide, pieces)]).blocks).toHaveLength(1);
});

it("the embedding's ranks lie beside each other", () => {
  const [one, two] = [1, 2].map((value) =>
    adapter(`${value}`, null, [{ a: filled(1, 3, value), b: filled(2, 1, value), start: 0 }]),
  );
  const { a, blocks } = stackOf('x', [one, two]);
  expect([...a.data]).toEqual([1, 1, 1, 2, 2, 2]);
  expect([...blocks[0].data]).toEqual([1, 2, 1, 2]);
});
