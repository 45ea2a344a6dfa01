import { describe, expect, it } from 'vitest';
import { checkGraph } from '../../../test/support/check-graph.ts';
import { addDims, timesDim } from '../../ops/shapes.ts';
import { GraphError } from '../../util/errors.ts';
import { GraphBuilder } from './builder.ts';
import { add, concat, matmul, matmulTransposed, reshape, split, transpose } from './ops.ts';

const nowhere = () => {
  throw new Error('no weights here');
};

describe('GraphBuilder', () => {
  it('writes a model that an independent schema reads back', () => {
    const g = new GraphBuilder();
    const x = g.input('x', 'float32', ['B', 4]);
    const w = g.external('w', 'float32', [4, 3]);
    const y = g.scope('layer', () => add(g, matmul(g, x, w), g.constant(Float32Array.of(1, 2, 3), [3])));
    g.output(y, 'y');
    const decoded = checkGraph(g.serialize(() => ({ location: 'w.bin', offset: 64, length: 48 })));
    expect(decoded.inputs).toEqual(['x']);
    expect(decoded.outputs).toEqual(['y']);
    expect(decoded.nodes).toBe(3);
    expect(decoded.externals.get('w')).toEqual({ offset: 64, length: 48 });
    const shape = decoded.model.graph!.input[0].type!.value;
    expect(shape.case === 'tensorType' && shape.value.shape!.dim.map((d) => d.value)).toMatchObject([
      { case: 'dimParam', value: 'B' },
      { case: 'dimValue', value: 4n },
    ]);
    expect(decoded.model.graph!.node.map((node) => node.name)).toEqual(['layer.MatMul.0', 'layer.Add.1', 'y']);
  });

  it('puts the nodes that only an output needs last, the first of them at the very end', () => {
    const g = new GraphBuilder();
    const x = g.input('x', 'float32', ['B', 4]);
    const a = add(g, x, g.scalar(1));
    const sums = [0, 1].map((l) => g.scope(`sum${l}`, () => add(g, a, g.scalar(10 + l))));
    const b = add(g, a, a);
    const parts = split(g, b, -1, [2, 2]);
    const y = g.scope('y', () => add(g, parts[0], parts[1]));
    g.output(b, 'b'); // is read by others, too
    g.output(parts[1], 'part');
    sums.forEach((sum, l) => {
      g.output(sum, `sums.${l}`);
    });
    g.output(y, 'out');
    const names = checkGraph(g.serialize(nowhere)).model.graph!.node.map(({ name }) =>
      name.replace(/\.\d+(\.\d)?$/, ''),
    );
    expect(names.filter((name) => name !== 'Add' && name !== 'Split')).toEqual([
      'b',
      'part',
      'y.Add',
      'out',
      'sum1.Add',
      'sums',
      'sum0.Add',
      'sums',
    ]);
  });

  it('writes negative and large integers, floats, strings and lists as attributes', () => {
    const g = new GraphBuilder();
    const x = g.input('x', 'float32', [2, 2]);
    const attributes = { axis: -1, big: 2 ** 40, alpha: { float: 0.5 }, mode: 'tanh', perm: [1, 0, -7] };
    const [y] = g.node('Made', [x], [x], { attributes });
    g.output(y, 'y');
    const [node] = checkGraph(g.serialize(nowhere)).model.graph!.node;
    const read = Object.fromEntries(node.attribute.map((a) => [a.name, a]));
    expect(read.axis.i).toBe(-1n);
    expect(read.big.i).toBe(2n ** 40n);
    expect(read.alpha.f).toBe(0.5);
    expect(new TextDecoder().decode(read.mode.s)).toBe('tanh');
    expect(read.perm.ints).toEqual([1n, 0n, -7n]);
  });

  it('keeps one copy of equal constants and of weights asked for twice', () => {
    const g = new GraphBuilder();
    expect(g.ints(1, 2)).toBe(g.ints(1, 2));
    expect(g.ints(1, 2)).not.toBe(g.ints(2, 1));
    expect(g.scalar(1)).not.toBe(g.constant(Float32Array.of(1), [1]));
    expect(g.external('w', 'float32', [2])).toBe(g.external('w', 'float32', [2]));
    expect(() => g.external('w', 'float32', [3])).toThrow(GraphError);
  });

  it('leaves out optional inputs and outputs', () => {
    const g = new GraphBuilder();
    const x = g.input('x', 'float32', [2]);
    const outs = g.node('Skip', [x, null, x], [x, null, x]);
    expect(outs).toHaveLength(2);
    g.output(add(g, outs[0], outs[1]), 'y');
    const [node] = checkGraph(g.serialize(nowhere)).model.graph!.node;
    expect(node.input).toEqual(['x', '', 'x']);
    expect(node.output[1]).toBe('');
  });
});

describe('shapes', () => {
  const g = new GraphBuilder();
  const a = g.input('a', 'float32', ['B', 2, 'T', 8]);
  const b = g.input('b', 'float32', ['B', 2, 'C', 8]);

  it('are inferred through operators', () => {
    expect(matmulTransposed(g, a, b).shape).toEqual(['B', 2, 'T', 'C']);
    expect(concat(g, [a, b], 2).shape).toEqual(['B', 2, 'T+C', 8]);
    expect(split(g, a, -1, [3, 5]).map((v) => v.shape[3])).toEqual([3, 5]);
    expect(transpose(g, a, [0, 2, 1, 3]).shape).toEqual(['B', 'T', 2, 8]);
    expect(reshape(g, a, [0, -1, 8], ['B', timesDim(2, 'T'), 8]).shape).toEqual(['B', '2*(T)', 8]);
    expect(addDims('C', 3, 4)).toBe('C+7');
  });

  it('that contradict each other are errors while the graph is built', () => {
    const c = g.input('c', 'float32', [8, 7]);
    expect(() => matmulTransposed(g, a, c)).toThrow(/8 is not 7/);
    expect(() => add(g, g.constant(new Float32Array(3), [3]), g.constant(new Float32Array(2), [2]))).toThrow(
      /do not fit/,
    );
    expect(() => split(g, a, 3, [3, 4])).toThrow(/do not add up to 8/);
  });
});
