import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { ATTENTION_CASES, attentionCase, ofChunk } from '../../../../test/support/attention-cases.ts';
import { checkGraph } from '../../../../test/support/check-graph.ts';
import { attend, echo, keyProducts } from '../../../ops/attention.ts';
import { OpGraph } from '../../../ops/graph.ts';
import type { GraphTarget } from '../../../ops/target.ts';
import type { Value } from '../../../ops/types.ts';
import type { PreparedWeights } from '../../../weights/types.ts';
import { lengthsOf } from '../onnx-session.ts';
import { onnxGpuTarget, onnxTarget } from '../target.ts';
import { lowerToOnnx } from './lower.ts';

const NO_WEIGHTS = { params: new Map(), file: { folder: '', name: '' } } as unknown as PreparedWeights;

/**
 * What a graph makes of its inputs.
 * @param shapes those of the inputs, with names where a length is known at run time only.
 */
async function run(
  target: GraphTarget,
  given: Readonly<Record<string, readonly [data: Float32Array, dims: readonly number[]]>>,
  shapes: Readonly<Record<string, readonly (number | string)[]>>,
  trace: (g: OpGraph, values: Readonly<Record<string, Value>>) => Readonly<Record<string, Value>>,
) {
  const g = new OpGraph(target);
  const values = Object.fromEntries(
    Object.entries(given).map(([name]) => [name, g.input(name, 'float32', shapes[name])]),
  );
  for (const [name, value] of Object.entries(trace(g, values))) g.output(value, name);
  const model = lowerToOnnx(g);
  const session = await InferenceSession.create(model.serialize(NO_WEIGHTS), { intraOpNumThreads: 1 });
  const feeds: Record<string, Tensor> = {};
  for (const [name, [data, dims]] of Object.entries(given))
    if (model.inputs.has(name)) feeds[name] = new Tensor('float32', data, model.dimsOf(name, dims));
  const inputs = Object.fromEntries(Object.entries(given).map(([name, [data, dims]]) => [name, { data, dims }]));
  for (const name of model.lengths.keys()) {
    const { data, dims } = lengthsOf(model, name, inputs)!;
    feeds[name] = new Tensor('int64', data as BigInt64Array, dims);
  }
  const outputs = await session.run(feeds);
  await session.release();
  return outputs;
}

function close(found: Tensor, wanted: Float32Array, dims: readonly number[], bound: number) {
  expect(found.dims).toEqual(dims);
  const off = wanted.reduce((most, x, i) => Math.max(most, Math.abs(x - Number(found.data[i]))), 0);
  expect(off).toBeLessThan(bound);
}

it('reads no length and takes no decision for a GPU', () => {
  const g = new OpGraph(onnxGpuTarget);
  const { given, attributes } = attentionCase(ATTENTION_CASES[1]);
  const x = Object.fromEntries(
    Object.entries(given).map(([name, [, dims]]) => [name, g.input(name, 'float32', ['B', ...dims.slice(1)])]),
  );
  const cached = { keys: x.keys, values: x.values, keyScales: null, valueScales: null };
  const inputs = { ...x, cached, sinks: null } as unknown as Parameters<typeof attend>[1];
  const { y, sums, maxima } = attend(g, inputs, attributes);
  g.output(y, 'y');
  g.output(sums!, 'sums');
  g.output(maxima!, 'maxima');
  const { model } = checkGraph(lowerToOnnx(g).serialize(NO_WEIGHTS));
  const ops = new Set(model.graph!.node.map(({ opType }) => opType));
  expect(ops).toContain('MatMul');
  for (const none of ['If', 'Shape', 'FusedMatMul', 'Less']) expect(ops).not.toContain(none);
});

describe.each([
  ['that decides while it runs', onnxTarget],
  ['that decides nothing', onnxGpuTarget],
])('attention, and what a policy sees of it, in a graph %s', (_, target) => {
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
        logTokens: ['B', groups === 1 ? 'G.all' : groups, 'C'],
        keys: ['B', G, 'C', D],
        values: ['B', G, 'C', Dv],
        queryWeights: ['B', 'sets', `${H / G}*T`],
        queryMask: ['B', 'maximaSets', 'T'],
        eachQuery: ['B', 'T', 'T'],
        echoed: ['B', H, 'T', D],
        echoedKeys: ['B', G, 'T', D],
        echoedPositions: ['B', 'T'],
        noEcho: ['B', 'echoSets', 'T'],
        noQuery: ['B', 'echoSets', 'T'],
      };
      // Of two attend nodes of one layer group the mask would be shared: each way to ask is a graph of its own.
      const outputs = async (by: Partial<Record<'queryWeights' | 'queryMask', string>>) =>
        run(target, given, shapes, (g, x) => {
          const cached = { keys: x.keys, values: x.values, keyScales: null, valueScales: null };
          const { q, k, v, positions, slots } = x;
          const logTokens = sizes.merged ? x.logTokens : null;
          const inputs = { q, k, v, positions, slots, logTokens, cached, sinks: null };
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
      const echoBy = async (mask: 'queryMask' | 'noEcho' | 'noQuery', isOfHeld = true) =>
        run(target, given, { ...shapes, queryMask: ['B', 'echoSets', 'T'] }, (g, x) => {
          const cached = { keys: x.keys, values: x.values, keyScales: null, valueScales: null };
          const { k, positions, slots, echoedPositions } = x;
          const echoed = [x.echoed, x.echoedKeys] as const;
          const logTokens = sizes.merged ? x.logTokens : null;
          const inputs = { k, positions, slots, logTokens, cached, echoed, echoedPositions, sinks: null };
          return { echo: echo(g, { ...inputs, mask: x[mask] }, { ...attributes, isOfHeld }) };
        });
      close((await echoBy('queryMask')).echo, wanted.echo, [B, G, 1, C + T], 1e-6);
      close((await echoBy('queryMask', false)).echo, ofChunk(wanted.echo, C, T), [B, G, 1, T], 1e-6);
      // A graph that decides nothing always computes an echo; queries that do not count have none.
      if (target.staticGraph)
        close(
          (await echoBy('noQuery')).echo,
          wanted.echo.map(() => 0),
          [B, G, 1, C + T],
          1e-12,
        );
      else expect((await echoBy('noEcho')).echo.data).toHaveLength(0);
    },
  );
});

describe.each([
  ['that decides while it runs', onnxTarget],
  ['that decides nothing', onnxGpuTarget],
])('products of keys with the sum of their directions, in a graph %s', (_, target) => {
  it.each([1, 3])('T %s', async (T) => {
    const [B, G, C, D] = [2, 2, 3, 4];
    const noise = (length: number, seed: number) => Float32Array.from({ length }, (_, i) => Math.sin(seed + 3.7 * i));
    const [k, sums, keys] = [noise(B * G * T * D, 1), noise(B * G * D, 2), noise(B * G * C * D, 3)];
    k.fill(0, 0, D); // a key of zeros has no direction
    const given = { k: [k, [B, G, T, D]], sums: [sums, [B, G, 1, D]], keys: [keys, [B, G, C, D]] } as const;
    const shapes = { k: ['B', G, 'T', D], sums: ['B', G, 1, D], keys: ['B', G, 'C', D] };
    const { y } = await run(target, given, shapes, (g, x) => {
      const cached = { keys: x.keys, values: x.keys, keyScales: null, valueScales: null };
      return { y: keyProducts(g, x.k, x.sums, cached, 'float32') };
    });
    const wanted = Float32Array.from({ length: B * G * (C + T) }, (_, i) => {
      const [line, j] = [Math.floor(i / (C + T)), i % (C + T)];
      const own = Array.from({ length: T }, (_, t) => k.subarray((line * T + t) * D, (line * T + t + 1) * D));
      const key = j < C ? keys.subarray((line * C + j) * D, (line * C + j + 1) * D) : own[j - C];
      const sum = (d: number) => own.reduce((all, one) => all + one[d] / (Math.hypot(...one) || 1), sums[line * D + d]);
      return key.reduce((all, x, d) => all + x * sum(d), 0);
    });
    close(y, wanted, [B, G, C + T], 1e-5);
  });
});
