import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { furthest } from '../../../../test/support/furthest.ts';
import {
  type Given,
  gatedDeltaCase,
  numbers,
  STATE_TIMES,
  selectiveScanCase,
} from '../../../../test/support/recurrence-cases.ts';
import { OpGraph } from '../../../ops/graph.ts';
import { headLinear } from '../../../ops/layers.ts';
import { gatedDelta, selectiveScan } from '../../../ops/states.ts';
import type { Value } from '../../../ops/types.ts';
import { range } from '../../../util/numbers.ts';
import type { PreparedWeights } from '../../../weights/types.ts';
import { onnxTarget } from '../target.ts';
import { lowerToOnnx } from './lower.ts';

const NO_WEIGHTS = { params: new Map(), file: { folder: '', name: '' } } as unknown as PreparedWeights;

/** What a graph makes of its inputs. */
async function run(
  given: Readonly<Record<string, Given>>,
  trace: (g: OpGraph, values: Readonly<Record<string, Value>>) => readonly Value[],
): Promise<Float32Array[]> {
  const g = new OpGraph(onnxTarget);
  const values = Object.fromEntries(
    Object.entries(given).map(([name, { data, dims }]) => [
      name,
      g.input(name, data instanceof Float32Array ? 'float32' : 'int64', name === 'a' ? dims : symbolic(name, dims)),
    ]),
  );
  trace(g, values).forEach((value, i) => {
    g.output(value, `out.${i}`);
  });
  const model = lowerToOnnx(g);
  const session = await InferenceSession.create(model.serialize(NO_WEIGHTS), { intraOpNumThreads: 1 });
  const feeds = Object.entries(given).map(([name, { data, dims }]) => [
    name,
    data instanceof Float32Array ? new Tensor('float32', data, dims) : new Tensor('int64', data, dims),
  ]);
  const outputs = await session.run(Object.fromEntries(feeds));
  await session.release();
  return Object.keys(outputs)
    .sort()
    .map((name) => outputs[name].data as Float32Array);
}

/** B, T and S are known at run time only. */
function symbolic(name: string, dims: readonly number[]): (number | string)[] {
  if (name === 'times') return ['B', 'S'];
  if (name === 'heads') return ['B', dims[1], 'T', dims[3]];
  return name === 'state' ? ['B', ...dims.slice(1)] : ['B', 'T', ...dims.slice(2)];
}

describe('recurrences as their rules say, token by token', () => {
  it.each(Object.entries(STATE_TIMES))('gatedDelta: %s', async (_, times) => {
    const { given, y, next, ofTokens } = gatedDeltaCase(times);
    const out = await run(given, (g, values) => gatedDelta(g, values as never));
    expect(furthest(ofTokens(out[0]), y)).toBeLessThan(1e-6);
    expect(furthest(out[1], next)).toBeLessThan(1e-6);
  });

  const scans = Object.entries(STATE_TIMES).flatMap(([name, times]) =>
    (['head', 'state'] as const).map((decay) => [decay, name, times] as const),
  );
  it.each(scans)('selectiveScan, a decay for each %s: %s', async (decay, _, times) => {
    const limits = { low: 0.4, high: 0.9 };
    const { given, y, next, ofTokens } = selectiveScanCase(decay, times, limits);
    const out = await run(given, (g, values) => selectiveScan(g, values as never, limits));
    expect(furthest(ofTokens(out[0]), y)).toBeLessThan(1e-6);
    expect(furthest(out[1], next)).toBeLessThan(1e-6);
  });
});

describe('headLinear', () => {
  it('takes each head through its own matrix', async () => {
    const [B, H, T, inner, out] = [2, 3, 4, 5, 6];
    const x = numbers(B * H * T * inner, 1);
    const weight = numbers(H * out * inner, 2);
    const [y] = await run({ heads: { data: x, dims: [B, H, T, inner] } }, (g, { heads }) => [
      headLinear(g, heads, g.constant(weight, [H, out, inner])),
    ]);
    const expected = Float32Array.from(range(B * H * T * out), (i) => {
      const [row, o] = [Math.floor(i / out), i % out];
      const h = Math.floor(row / T) % H;
      return range(inner).reduce((sum, j) => sum + x[row * inner + j] * weight[(h * out + o) * inner + j], 0);
    });
    expect(furthest(y, expected)).toBeLessThan(1e-6);
  });
});
