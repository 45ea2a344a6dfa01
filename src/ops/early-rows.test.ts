import { describe, expect, it } from 'vitest';
import { add, concat, gatherRows, mul, reshape, split, tokensLike, unary } from './basic.ts';
import { withEarlyRows } from './early-rows.ts';
import { OpGraph } from './graph.ts';
import { addNorm, linear } from './layers.ts';
import type { GraphTarget } from './target.ts';
import type { Value } from './types.ts';

const E = 4;

/** A graph of one MLP on a stream, and what `body` makes of the stream and the normalized stream. */
function traced(body: (g: OpGraph, stream: Value, normed: Value) => Value): OpGraph {
  const g = new OpGraph({} as GraphTarget);
  const stream = g.input('stream', 'float32', ['B', 'T', E]);
  const mixed = g.input('mixed', 'float32', ['B', 'T', E]);
  const wanted = g.input('logitRows', 'int64', ['N']);
  const [normed, sum] = addNorm(g, mixed, stream, null, null, { kind: 'rms', eps: 1e-5 });
  const flat = reshape(g, body(g, sum, normed), [-1, E], ['B*T', E]);
  g.output(gatherRows(g, flat, wanted), 'logits');
  return g;
}

const weight = (g: OpGraph, name: string, rows: number, cols: number) =>
  g.param({ name, shape: [rows, cols], parts: [], kind: 'linear', format: 'float32' } as never);

const ops = (graph: OpGraph) => graph.nodes.map(({ op }) => op);
const shapes = (graph: OpGraph, op: string) =>
  graph.nodes.filter((node) => node.op === op).map(({ outputs: [y] }) => y.shape);

describe('rows that want logits', () => {
  it('are taken before the MLP and the norm', () => {
    const graph = traced((g, stream, normed) => {
      const [gate, up] = split(g, linear(g, normed, weight(g, 'fc', 12, E)), -1, [6, 6]);
      return add(g, stream, linear(g, mul(g, unary(g, 'silu', gate), up), weight(g, 'proj', E, 6)));
    });
    const early = withEarlyRows(graph, 'logitRows');
    expect(ops(early).slice(0, 4)).toEqual(['reshape', 'gatherRows', 'reshape', 'gatherRows']);
    expect(ops(early).filter((op) => op === 'gatherRows')).toHaveLength(2);
    expect(shapes(early, 'linear')).toEqual([
      ['N', 12],
      ['N', E],
    ]);
    expect(shapes(early, 'addNorm')).toEqual([['N', E]]);
    expect(early.outputs.get('logits')).toBe(graph.outputs.get('logits'));
    expect(ops(graph)).not.toEqual(ops(early));
  });

  it('are taken where they were, of what other operators or the caller read for all tokens', () => {
    const graph = traced((g, stream, normed) => {
      g.output(normed, 'hidden');
      return concat(g, [linear(g, normed, weight(g, 'half', 2, E)), split(g, stream, -1, [2, 2])[0]], -1);
    });
    const early = withEarlyRows(graph, 'logitRows');
    expect(shapes(early, 'addNorm')).toEqual([['B', 'T', E]]);
    expect(shapes(early, 'linear')).toEqual([['N', 2]]);
    expect(shapes(early, 'concat')).toEqual([['N', E]]);
  });

  it('pass shapes that only name the tokens otherwise', () => {
    const graph = traced((g, stream, normed) => {
      const flat = reshape(g, normed, [-1, E], ['B*T', E]);
      return add(g, stream, tokensLike(g, linear(g, flat, weight(g, 'fc', E, E)), normed));
    });
    const early = withEarlyRows(graph, 'logitRows');
    expect(ops(early)).not.toContain('tokensLike');
    expect(shapes(early, 'linear')).toEqual([['N', E]]);
  });

  it('stay where nothing computes tokens one by one, and where they are taken twice', () => {
    const g = new OpGraph({} as GraphTarget);
    const wanted = g.input('logitRows', 'int64', ['N']);
    const flat = reshape(g, g.input('x', 'float32', ['B', 'T', E]), [-1, E], ['B*T', E]);
    g.output(gatherRows(g, flat, wanted), 'logits');
    expect(withEarlyRows(g, 'logitRows')).toBe(g);
    const twice = traced((_, stream) => stream);
    twice.output(gatherRows(twice, reshape(twice, twice.inputs[0], [-1, E], ['B*T', E]), twice.inputs[2]), 'again');
    expect(withEarlyRows(twice, 'logitRows')).toBe(twice);
  });
});
