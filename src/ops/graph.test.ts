import { describe, expect, it } from 'vitest';
import { onnxTarget } from '../backends/onnx/target.ts';
import type { Param } from '../weights/types.ts';
import { OpGraph } from './graph.ts';

const table: Param = { name: 'wte.weight', shape: [8, 4], role: 'embedding', format: 'float32', parts: [] };

describe('a parameter that is used twice', () => {
  it('is stored as its first use wants it, and says that a table is a head, too', () => {
    const g = new OpGraph(onnxTarget);
    const value = g.param(table);
    expect(g.params.get('wte.weight')).toEqual(table);
    expect(g.param(table)).toBe(value);
    expect(g.params.get('wte.weight')).toEqual(table);
    expect(g.param({ ...table, role: 'linear', format: 'f16', productsOnly: true })).toBe(value);
    expect(g.params.get('wte.weight')).toEqual({ ...table, isHead: true });
  });

  it('has one shape', () => {
    const g = new OpGraph(onnxTarget);
    g.param(table);
    expect(() => g.param({ ...table, shape: [4, 8] })).toThrow(/used as \[8,4\] and as \[4,8\]/);
  });
});
