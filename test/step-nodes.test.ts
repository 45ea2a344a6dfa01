/**
 * How many nodes a layer of the step's graph has. Each small node takes 6 to 15 µs at one token, so that fewer nodes
 * are speed, and no clock is needed to notice that there are more. Lower numbers are welcome: update the table. A
 * higher one is to be justified in the commit that makes it so.
 */
import type { NodeProto } from 'onnx-buf';
import { describe, expect, it } from 'vitest';
import { onnxTarget } from '../src/backends/onnx/target.ts';
import { readConfig } from '../src/families/read-config.ts';
import { type StepGraphOptions, traceStep } from '../src/model/gpt.ts';
import type { WeightFormat } from '../src/weights/types.ts';
import { ALL_NAMES } from './support/all-names.ts';
import { checkLowered } from './support/check-graph.ts';
import { configJson } from './support/family-cases.ts';

/** Options of a step, and the format of its weights. */
type Traced = StepGraphOptions & { readonly format: WeightFormat };

const PLAIN: Traced = {
  format: 'float32',
  sharing: 'by-window',
  buffer: 'float32',
  sums: null,
  moments: false,
};

/** Nodes that a layer runs for one token: of llama, by what differs from float32 weights in a plain float32 cache. */
const NODES_PER_LAYER: readonly (readonly [what: string, own: Partial<Traced>, nodes: number])[] = [
  ['float32', {}, 31],
  ['int8', { format: 'int8' }, 31],
  ['int4', { format: 'int4' }, 31],
  ['float32, layers by themselves', { sharing: 'none' }, 35],
  ['float32, sums of weights', { sums: ALL_NAMES }, 35],
  ['float32, sums of weights, layers by themselves', { sums: ALL_NAMES, sharing: 'none' }, 39],
  ['int4, sums of weights, layers by themselves', { format: 'int4', sums: ALL_NAMES, sharing: 'none' }, 39],
  ['float32, moments of queries', { moments: true, sharing: 'none' }, 42],
  ['cache in float16', { buffer: 'float16' }, 33],
  ['cache in int8-plain', { buffer: 'int8-plain' }, 69],
  ['cache in int4-plain', { buffer: 'int4-plain' }, 75],
  // Queries, keys, values and the result are rotated, and the result is reshaped twice.
  ['cache in int8', { buffer: 'int8' }, 75],
  // The fifth bits of keys and values are 7 nodes each.
  ['cache in int5', { buffer: 'int5' }, 95],
  ['cache in int4', { buffer: 'int4' }, 81],
];

/**
 * Nodes that run where every choice is made for a single token; an Identity is a branch's way of naming what it gives.
 */
function runs(nodes: readonly NodeProto[]): number {
  return nodes.reduce((sum, { opType, attribute }) => {
    const branch = attribute.find(({ name }) => name === 'then_branch')?.g;
    return sum + Number(opType !== 'Identity') + (branch ? runs(branch.node) : 0);
  }, 0);
}

describe('nodes a layer', () => {
  const nodes = (layers: number, own: Partial<Traced>): number => {
    const { config } = readConfig({ ...configJson('llama'), num_hidden_layers: layers });
    const { format, ...options } = { ...PLAIN, ...own };
    const { graph } = traceStep({ config, format, parts: null }, options, onnxTarget);
    return runs(checkLowered(graph).found.model.graph!.node);
  };

  it.each(NODES_PER_LAYER)('%s', (_, own, expected) => {
    expect(nodes(3, own) - nodes(2, own)).toBe(expected);
  });
});
