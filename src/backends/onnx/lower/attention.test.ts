import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { ATTENTION_CASES, attentionCase } from '../../../../test/support/attention-cases.ts';
import { attend, echo } from '../../../ops/attention.ts';
import { OpGraph } from '../../../ops/graph.ts';
import type { Value } from '../../../ops/types.ts';
import type { PreparedWeights } from '../../../weights/types.ts';
import { onnxTarget } from '../target.ts';
import { lowerToOnnx } from './lower.ts';

const NO_WEIGHTS = { params: new Map(), file: { folder: '', name: '' } } as unknown as PreparedWeights;

/** What a graph makes of its inputs. @param shapes those of the inputs, with names where a length is known at run time only. */
async function run(
  given: Readonly<Record<string, readonly [data: Float32Array, dims: readonly number[]]>>,
  shapes: Readonly<Record<string, readonly (number | string)[]>>,
  trace: (g: OpGraph, values: Readonly<Record<string, Value>>) => Readonly<Record<string, Value>>,
) {
  const g = new OpGraph(onnxTarget);
  const values = Object.fromEntries(
    Object.entries(given).map(([name]) => [name, g.input(name, 'float32', shapes[name])]),
  );
  for (const [name, value] of Object.entries(trace(g, values))) g.output(value, name);
  const model = lowerToOnnx(g);
  const session = await InferenceSession.create(model.serialize(NO_WEIGHTS), { intraOpNumThreads: 1 });
  const feeds = Object.entries(given)
    .filter(([name]) => model.inputs.has(name))
    .map(([name, [data, dims]]) => [name, new Tensor('float32', data, model.dimsOf(name, dims))]);
  const outputs = await session.run(Object.fromEntries(feeds));
  await session.release();
  return outputs;
}

function close(found: Tensor, wanted: Float32Array, dims: readonly number[], bound: number) {
  expect(found.dims).toEqual(dims);
  const off = wanted.reduce((most, x, i) => Math.max(most, Math.abs(x - Number(found.data[i]))), 0);
  expect(off).toBeLessThan(bound);
}

describe('attention, and what a policy sees of it', () => {
  it.each(ATTENTION_CASES)(
    'T $T, C $C, B $B, H $H, G $G, $groups groups of slots, window $window, alibi $alibi, cap $softcap',
    async (sizes) => {
      const { B, H, G, T, C, groups } = sizes;
      const { given, attributes, wanted, sets, Dv } = attentionCase(sizes);
      const D = given.q[1][3];
      const shapes = {
        q: ['B', H, 'T', D],
        k: ['B', G, 'T', D],
        v: ['B', G, 'T', Dv],
        positions: ['B', 'T'],
        slots: ['B', groups === 1 ? 'G.all' : groups, 'C'],
        keys: ['B', G, 'C', D],
        values: ['B', G, 'C', Dv],
        queryWeights: ['B', 'sets', `${H / G}*T`],
        queryMask: ['B', 'maximaSets', 'T'],
        eachQuery: ['B', 'T', 'T'],
        echoed: ['B', H, 'T', D],
        echoedPositions: ['B', 'T'],
        noEcho: ['B', 'echoSets', 'T'],
      };
      // Of two attend nodes of one layer group the mask would be shared: each way to ask is a graph of its own.
      const outputs = async (by: Partial<Record<'queryWeights' | 'queryMask', string>>) =>
        run(given, shapes, (g, x) => {
          const cached = { keys: x.keys, values: x.values, keyScales: null, valueScales: null };
          const { q, k, v, positions, slots } = x;
          const inputs = { q, k, v, positions, slots, cached, sinks: null };
          const queryWeights = by.queryWeights ? x[by.queryWeights] : null;
          const queryMask = by.queryMask ? x[by.queryMask] : null;
          const { y, sums, maxima } = attend(g, { ...inputs, queryWeights, queryMask }, attributes);
          return { y, ...(sums && { sums }), ...(maxima && { maxima }) };
        });
      const both = await outputs({ queryWeights: 'queryWeights', queryMask: 'queryMask' });
      close(both.y, wanted.y, [B, T, H * Dv], 1e-5);
      close(both.sums, wanted.sums, [B, G, sets, C + T], 1e-5);
      close(both.maxima, wanted.maxima, [B, G, 1, C + T], 1e-6);
      const each = await outputs({ queryMask: 'eachQuery' });
      close(each.y, wanted.y, [B, T, H * Dv], 1e-5);
      close(each.maxima, wanted.eachMaxima, [B, G, T, C + T], 1e-6);
      const echoBy = async (mask: 'queryMask' | 'noEcho') =>
        run(given, { ...shapes, queryMask: ['B', 'echoSets', 'T'] }, (g, x) => {
          const cached = { keys: x.keys, values: x.values, keyScales: null, valueScales: null };
          const { q, k, positions, slots, echoed, echoedPositions } = x;
          const inputs = { q, k, positions, slots, cached, echoed, echoedPositions, sinks: null };
          return { echo: echo(g, { ...inputs, mask: x[mask] }, attributes) };
        });
      close((await echoBy('queryMask')).echo, wanted.echo, [B, G, 1, C + T], 1e-6);
      expect((await echoBy('noEcho')).echo.data).toHaveLength(0);
    },
  );
});
