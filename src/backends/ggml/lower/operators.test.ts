/**
 * Each operator against its definition in plain TypeScript.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ATTENTION_CASES, attentionCase, noise, ofChunk } from '../../../../test/support/attention-cases.ts';
import { gatedDeltaCase, STATE_TIMES, selectiveScanCase } from '../../../../test/support/recurrence-cases.ts';
import type { RouterSpec } from '../../../config/mlp-spec.ts';
import { blockCodec } from '../../../kvcache/buffers/blocks.ts';
import { floatToHalf, halfToFloat } from '../../../kvcache/buffers/float16.ts';
import { HIDDEN } from '../../../kvcache/slots/slots.ts';
import * as adapters from '../../../ops/adapters.ts';
import * as attention from '../../../ops/attention.ts';
import * as basic from '../../../ops/basic.ts';
import * as experts from '../../../ops/experts.ts';
import { OpGraph } from '../../../ops/graph.ts';
import * as layers from '../../../ops/layers.ts';
import type { Dim } from '../../../ops/shapes.ts';
import * as states from '../../../ops/states.ts';
import type { UnaryKind, Value } from '../../../ops/types.ts';
import { range } from '../../../util/numbers.ts';
import { layOut } from '../../../weights/prepared/layout.ts';
import type { Param } from '../../../weights/types.ts';
import { openGgml } from '../binding/binding.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { GgmlSession } from '../graph/session.ts';
import { ggmlCodec } from '../weights/weight-codec.ts';
import { GgmlWeights } from '../weights/weights.ts';
import { filledSlots } from './slot-use.ts';

const ggml = openGgml();
const backend = new CpuBackend(ggml, 2);
afterAll(() => backend.dispose());

const ints = (...values: number[]): BigInt64Array => BigInt64Array.from(values, BigInt);

type Given = Readonly<
  Record<string, readonly [data: Float32Array | BigInt64Array | Uint16Array, dims: readonly number[]]>
>;

const target = {
  slotBlocks: blockCodec,
  stacksHeadExperts: true,
  held: () => 'float32' as const,
  weightFormat: () => 'float32' as const,
  expertLayout: () => 'separate' as const,
};

/**
 * Computes what `build` makes of the inputs.
 * @param params as matrices, row-major.
 */
async function compute(
  given: Given,
  build: (
    g: OpGraph,
    inputs: Readonly<Record<string, Value>>,
    param: (name: string) => Value,
  ) => Readonly<Record<string, Value>>,
  params: Readonly<Record<string, readonly [data: Float32Array, shape: readonly number[]]>> = {},
) {
  const g = new OpGraph(target);
  const values: Record<string, Value> = {};
  for (const [name, [data, dims]] of Object.entries(given)) {
    const dtype = data instanceof Float32Array ? 'float32' : data instanceof Uint16Array ? 'float16' : 'int64';
    values[name] = g.input(name, dtype, dims as Dim[]);
  }
  const specs: Param[] = Object.entries(params).map(([name, [, shape]]) => ({
    name,
    shape,
    role: shape.length > 1 ? 'linear' : 'plain',
    format: 'float32',
    parts: [],
  }));
  const outputs = build(g, values, (name) => g.param(specs.find((spec) => spec.name === name)!));
  for (const [name, value] of Object.entries(outputs)) g.output(value, name);
  const layout = layOut(specs, ggmlCodec);
  const folder = mkdtempSync(join(tmpdir(), 'keyhold-ops-'));
  const file = new Uint8Array(Math.max(64, layout.size));
  for (const [name, [data]] of Object.entries(params))
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), layout.params.get(name)!.offset);
  writeFileSync(join(folder, 'weights.bin'), file);
  const weights = new GgmlWeights(ggml, { ...layout, file: { folder, name: 'weights.bin' } });
  const session = await GgmlSession.open(ggml, backend, g, weights);
  const inputs = Object.fromEntries(Object.entries(given).map(([name, [data, dims]]) => [name, { data, dims }]));
  await session.run(inputs);
  const results = await session.run(inputs); // a graph that is kept gives the same again
  await session.dispose();
  weights.dispose();
  rmSync(folder, { recursive: true });
  return results;
}

function close(
  found: { readonly data: Float32Array; readonly dims: readonly number[] },
  wanted: ArrayLike<number>,
  dims: readonly number[],
  bound = 2e-5,
) {
  expect(found.dims).toEqual(dims);
  expect(found.data.length).toBe(wanted.length);
  for (let i = 0; i < wanted.length; i++)
    if (!(Math.abs(found.data[i] - wanted[i]) < bound * Math.max(1, Math.abs(wanted[i]))))
      expect.fail(`at ${i}: ${found.data[i]} instead of ${wanted[i]}`);
}

/** Weights on slots that hold the chunk [B, G, sets, S] as weights on slots and chunk [B, G, sets, C + T]. */
function behindSlots(
  weights: { readonly data: Float32Array; readonly dims: readonly number[] },
  filled: readonly number[],
  C: number,
  T: number,
) {
  const { data, dims } = weights;
  const [B, G, sets, S] = dims;
  if (S === C + T) return weights;
  const out = new Float32Array(B * G * sets * (C + T));
  for (let line = 0; line < B * G * sets; line++) {
    const own = data.subarray(line * S, (line + 1) * S);
    const held = filled[Math.floor(line / (G * sets))];
    out.set(own.subarray(0, held), line * (C + T));
    out.set(own.subarray(held, held + T), line * (C + T) + C);
    // Slots behind the chunk are hidden.
    expect(own.subarray(held + T).every((weight) => weight === 0)).toBe(true);
  }
  return { data: out, dims: [B, G, sets, C + T] };
}

const erf = (x: number): number => {
  let [sum, term] = [x, x];
  for (let n = 1; n < 100; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
};
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const UNARY: Readonly<Partial<Record<UnaryKind, (x: number) => number>>> = {
  silu: (x) => x * sigmoid(x),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  'gelu-tanh': (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  'quick-gelu': (x) => x * sigmoid(1.702 * x),
  relu: (x) => Math.max(0, x),
  relu2: (x) => Math.max(0, x) ** 2,
  tanh: Math.tanh,
  sigmoid,
  softplus: (x) => Math.log1p(Math.exp(x)),
  exp: Math.exp,
  neg: (x) => -x,
};

describe('elementwise operators', () => {
  it('xielu has another curve on each side of 0', async () => {
    const [alphaP, alphaN, beta, eps] = [0.3, -0.7, 0.5, -1e-6];
    const parameter = (value: number) => [Float32Array.of(value), [1]] as const;
    const x = Float32Array.from([-9, -1.5, -0.3, -1e-7, 0, 1e-7, 0.4, 3]);
    const given = {
      x: [x, [2, 4]] as const,
      p: parameter(alphaP),
      n: parameter(alphaN),
      b: parameter(beta),
      e: parameter(eps),
    };
    const { y } = await compute(given, (g, { x, p, n, b, e }) => ({ y: basic.xielu(g, x, p, n, b, e) }));
    const softplus = (value: number) => Math.log1p(Math.exp(value));
    const expected = Array.from(x, (value) =>
      value > 0
        ? softplus(alphaP) * value ** 2 + beta * value
        : (Math.expm1(Math.min(value, eps)) - value) * (beta + softplus(alphaN)) + beta * value,
    );
    for (const [i, value] of expected.entries()) expect(Math.abs(y.data[i] - value)).toBeLessThan(2e-6);
  });

  it.each(Object.entries(UNARY))('%s is exact', async (kind, f) => {
    const x = noise([3, 40], 1).map((v) => 4 * v);
    const { y } = await compute({ x: [x, [3, 40]] }, (g, v) => ({ y: basic.unary(g, kind as UnaryKind, v.x) }));
    close(y, x.map(f), [3, 40], 2e-6);
  });

  it('broadcast as NumPy does, on either side', async () => {
    const [a, b, c] = [noise([2, 3, 4], 1), noise([3, 1], 2), noise([4], 3)];
    const given: Given = { a: [a, [2, 3, 4]], b: [b, [3, 1]], c: [c, [4]] };
    const at = (i: number) => ({ x: a[i], y: b[Math.floor(i / 4) % 3], z: c[i % 4] });
    for (const [op, f] of [
      [basic.add, (x: number, y: number) => x + y],
      [basic.sub, (x: number, y: number) => x - y],
      [basic.mul, (x: number, y: number) => x * y],
      [basic.div, (x: number, y: number) => x / y],
    ] as const) {
      const r = await compute(given, (g, v) => ({ p: op(g, v.a, v.b), q: op(g, v.b, v.a), r: op(g, v.b, v.c) }));
      close(
        r.p,
        a.map((_, i) => f(at(i).x, at(i).y)),
        [2, 3, 4],
        1e-5,
      );
      close(
        r.q,
        a.map((_, i) => f(at(i).y, at(i).x)),
        [2, 3, 4],
        1e-5,
      );
      close(
        r.r,
        Float32Array.from({ length: 12 }, (_, i) => f(at(i).y, at(i).z)),
        [3, 4],
        1e-5,
      );
    }
  });

  it('scale, cap, clip, and leave their input as it is', async () => {
    const x = noise([2, 5], 4).map((v) => 3 * v);
    const r = await compute({ x: [x, [2, 5]] }, (g, v) => {
      const y = basic.scale(g, v.x, 2);
      return { clipped: basic.clip(g, y, -1, 1.5), capped: basic.softcap(g, y, 2), scaled: y };
    });
    close(
      r.scaled,
      x.map((v) => 2 * v),
      [2, 5],
    );
    close(
      r.clipped,
      x.map((v) => Math.min(1.5, Math.max(-1, 2 * v))),
      [2, 5],
    );
    close(
      r.capped,
      x.map((v) => 2 * Math.tanh(v)),
      [2, 5],
    );
  });

  it('gates, also halves of one value', async () => {
    const x = noise([3, 8], 5);
    for (const kind of ['silu', 'gelu', 'relu'] as const) {
      const { y } = await compute({ x: [x, [3, 8]] }, (g, v) => {
        const [gate, up] = basic.split(g, v.x, -1, [4, 4]);
        return { y: basic.mul(g, basic.unary(g, kind, gate), up) };
      });
      const wanted = Float32Array.from({ length: 12 }, (_, i) => {
        const at = Math.floor(i / 4) * 8 + (i % 4);
        return UNARY[kind]!(x[at]) * x[at + 4];
      });
      close(y, wanted, [3, 4]);
    }
  });

  it('join several parts of one shape, along each axis', async () => {
    const dims = [2, 3, 4, 5];
    const parts = [10, 11, 12, 13].map((seed) => noise(dims, seed));
    const given = Object.fromEntries(parts.map((part, i) => [`x${i}`, [part, dims] as const]));
    const axes = [0, 1, 2, 3];
    const results = await compute(given, (g, v) =>
      Object.fromEntries(axes.map((axis) => [`along${axis}`, basic.concat(g, Object.values(v), axis)])),
    );
    for (const axis of axes) {
      const inner = dims.slice(axis).reduce((a, b) => a * b, 1);
      const outer = (2 * 3 * 4 * 5) / inner;
      const wanted = Array.from({ length: outer }, (_, o) =>
        parts.flatMap((part) => [...part.subarray(o * inner, (o + 1) * inner)]),
      ).flat();
      close(
        results[`along${axis}`],
        Float32Array.from(wanted),
        dims.map((n, i) => (i === axis ? 4 * n : n)),
      );
    }
  });

  it('change shapes', async () => {
    const x = noise([2, 3, 4, 5], 6);
    const r = await compute({ x: [x, [2, 3, 4, 5]], i: [ints(1, 0, 1), [3]] }, (g, v) => {
      const turned = basic.transpose(g, v.x, [0, 2, 1, 3]);
      const [a, b] = basic.split(g, turned, 1, [1, 3]);
      return {
        turned,
        flat: basic.reshape(g, turned, [0, -1, 5], [2, 12, 5]),
        a,
        joined: basic.concat(g, [b, a], 1),
        stack: basic.concat(g, [a, b, basic.scale(g, a, 2)], 1),
        last: basic.concat(g, [v.x, v.x], -1),
        rows: basic.gatherRows(g, v.x, v.i),
        sum1: basic.reduceSum(g, v.x, 1),
        sum3: basic.reduceSum(g, v.x, -1),
        outer: basic.concat(g, [a, basic.scale(g, a, 3)], 0),
      };
    });
    const at = (b: number, i: number, j: number, k: number) => x[((b * 3 + i) * 4 + j) * 5 + k];
    const every = (dims: readonly number[], f: (i: number[]) => number) => {
      const size = dims.reduce((p, q) => p * q, 1);
      return Float32Array.from({ length: size }, (_, n) => {
        const index: number[] = [];
        for (let axis = dims.length - 1, rest = n; axis >= 0; axis--) {
          index.unshift(rest % dims[axis]);
          rest = Math.floor(rest / dims[axis]);
        }
        return f(index);
      });
    };
    const turned = every([2, 4, 3, 5], ([b, j, i, k]) => at(b, i, j, k));
    close(r.turned, turned, [2, 4, 3, 5]);
    close(r.flat, turned, [2, 12, 5]);
    close(
      r.a,
      every([2, 1, 3, 5], ([b, j, i, k]) => at(b, i, j, k)),
      [2, 1, 3, 5],
    );
    close(
      r.joined,
      every([2, 4, 3, 5], ([b, j, i, k]) => at(b, i, (j + 1) % 4, k)),
      [2, 4, 3, 5],
    );
    close(
      r.stack,
      every([2, 5, 3, 5], ([b, j, i, k]) => (j === 4 ? 2 * at(b, i, 0, k) : at(b, i, j, k))),
      [2, 5, 3, 5],
    );
    close(
      r.last,
      every([2, 3, 4, 10], ([b, i, j, k]) => at(b, i, j, k % 5)),
      [2, 3, 4, 10],
    );
    close(
      r.rows,
      every([3, 3, 4, 5], ([n, i, j, k]) => at([1, 0, 1][n], i, j, k)),
      [3, 3, 4, 5],
    );
    close(
      r.sum1,
      every([2, 1, 4, 5], ([b, , j, k]) => at(b, 0, j, k) + at(b, 1, j, k) + at(b, 2, j, k)),
      [2, 1, 4, 5],
    );
    close(
      r.sum3,
      every([2, 3, 4, 1], ([b, i, j]) => [0, 1, 2, 3, 4].reduce((s, k) => s + at(b, i, j, k), 0)),
      [2, 3, 4, 1],
    );
    close(
      r.outer,
      every([4, 1, 3, 5], ([b, j, i, k]) => (b > 1 ? 3 : 1) * at(b % 2, i, j, k)),
      [4, 1, 3, 5],
    );
  });
});

describe('layers', () => {
  it('multiply, embed and normalize', async () => {
    const [x, w, b] = [noise([2, 3, 8], 1), noise([5, 8], 2), noise([5], 3)];
    const [n, m] = [noise([8], 4), noise([8], 5)];
    const r = await compute(
      { x: [x, [2, 3, 8]], ids: [ints(4, 0, 1, 1, 2, 3), [2, 3]] },
      (g, v, param) => {
        const [normed, sum] = layers.addNorm(g, v.x, v.x, param('n'), null, { kind: 'rms', eps: 1e-5 });
        return {
          y: layers.linear(g, v.x, param('w'), param('b')),
          e: layers.embed(g, v.ids, param('w')),
          l: layers.norm(g, v.x, param('n'), param('m'), { kind: 'layer', eps: 1e-5 }),
          normed,
          sum,
        };
      },
      { w: [w, [5, 8]], b: [b, [5]], n: [n, [8]], m: [m, [8]] },
    );
    const row = (t: number) => x.subarray(t * 8, t * 8 + 8);
    const y = Float32Array.from({ length: 30 }, (_, i) => {
      const o = i % 5;
      return b[o] + row(Math.floor(i / 5)).reduce((s, v, k) => s + v * w[o * 8 + k], 0);
    });
    close(r.y, y, [2, 3, 5]);
    close(r.e, Float32Array.from([4, 0, 1, 1, 2, 3].flatMap((id) => [...w.subarray(id * 8, id * 8 + 8)])), [2, 3, 8]);
    const layer = Float32Array.from({ length: 48 }, (_, i) => {
      const own = row(Math.floor(i / 8));
      const mean = own.reduce((p, q) => p + q, 0) / 8;
      const variance = own.reduce((p, q) => p + (q - mean) ** 2, 0) / 8;
      return ((x[i] - mean) / Math.sqrt(variance + 1e-5)) * n[i % 8] + m[i % 8];
    });
    close(r.l, layer, [2, 3, 8]);
    close(
      r.sum,
      x.map((v) => 2 * v),
      [2, 3, 8],
    );
    const rms = Float32Array.from({ length: 48 }, (_, i) => {
      const own = row(Math.floor(i / 8));
      return ((2 * x[i]) / Math.sqrt(own.reduce((p, q) => p + 4 * q * q, 0) / 8 + 1e-5)) * n[i % 8];
    });
    close(r.normed, rms, [2, 3, 8]);
  });

  it.each([
    { interleave: false, B: 2, T: 2, factor: 1 },
    { interleave: true, B: 2, T: 2, factor: 1.3 },
    // One token takes ggml's operator.
    { interleave: false, B: 1, T: 1, factor: 1 },
    { interleave: true, B: 1, T: 1, factor: 1 },
    { interleave: false, B: 1, T: 1, factor: 1.3 },
    // It writes two numbers at a time behind those that are rotated: a head of an odd size is not its own.
    { interleave: false, B: 1, T: 1, factor: 1, heads: 2000, D: 11 },
  ])('rotate, at large positions too: %j', async ({ interleave, B, T, factor, heads = 3, D = 10 }) => {
    const pairs = 4;
    const x = noise([B, heads, T, D], 1);
    const angle = (row: number, i: number) => (32_000 + row) * 10_000 ** (-i / pairs);
    const cos = Float32Array.from(
      { length: B * T * pairs },
      (_, i) => factor * Math.cos(angle(Math.floor(i / pairs), i % pairs)),
    );
    const sin = Float32Array.from(
      { length: B * T * pairs },
      (_, i) => factor * Math.sin(angle(Math.floor(i / pairs), i % pairs)),
    );
    const index = B * T === 1 ? [0] : [2, 0, 1, 3];
    const { y } = await compute(
      {
        x: [x, [B, heads, T, D]],
        cos: [cos, [B * T, pairs]],
        sin: [sin, [B * T, pairs]],
        index: [ints(...index), [B, T]],
      },
      (g, v) => ({
        y: attention.rotate(g, v.x, { cos: v.cos, sin: v.sin, index: v.index, interleave, scaled: factor !== 1 }),
      }),
    );
    const wanted = x.slice();
    for (let b = 0; b < B; b++)
      for (let h = 0; h < heads; h++)
        for (let t = 0; t < T; t++)
          for (let i = 0; i < pairs; i++) {
            const at = ((b * heads + h) * T + t) * D;
            const [p, q] = interleave ? [2 * i, 2 * i + 1] : [i, i + pairs];
            const row = index[b * T + t] * pairs + i;
            wanted[at + p] = x[at + p] * cos[row] - x[at + q] * sin[row];
            wanted[at + q] = x[at + q] * cos[row] + x[at + p] * sin[row];
          }
    close(y, wanted, [B, heads, T, D], 1e-6);
  });

  it('multiply by blocks, and take the mean of what is no padding', async () => {
    const [x, w, b] = [noise([2, 3, 6], 1), noise([2, 3, 3], 2), noise([6], 3)];
    const mask = Float32Array.of(0, 0, HIDDEN, 0, HIDDEN, HIDDEN);
    const r = await compute(
      { x: [x, [2, 3, 6]], mask: [mask, [2, 3]], p: [Float32Array.of(0, 1, 2, 7, 0, 1), [2, 3]] },
      (g, v, param) => ({
        y: layers.blockLinear(g, v.x, param('w'), param('b')),
        mean: layers.meanPool(g, v.x, v.mask),
        start: states.startMask(g, v.p),
      }),
      { w: [w, [2, 3, 3]], b: [b, [6]] },
    );
    const y = Float32Array.from({ length: 36 }, (_, i) => {
      const [line, o] = [Math.floor(i / 6), i % 6];
      const block = Math.floor(o / 3);
      return b[o] + [0, 1, 2].reduce((s, k) => s + x[line * 6 + block * 3 + k] * w[(block * 3 + k) * 3 + (o % 3)], 0);
    });
    close(r.y, y, [2, 3, 6]);
    const mean = Float32Array.from({ length: 12 }, (_, i) => (i < 6 ? (x[i] + x[6 + i]) / 2 : x[18 + i - 6]));
    close(r.mean, mean, [2, 6]);
    close(r.start, [1, 0, 0, 0, 1, 0], [2, 3, 1]);
  });
});

describe('attention', () => {
  it.each(ATTENTION_CASES)(
    'T $T, C $C ($free free), B $B, H $H, G $G, $groups groups of slots, window $window, alibi $alibi, cap $softcap, merged $merged',
    async (sizes) => {
      const { B, H, G, T, C, free, groups } = sizes;
      const { given, attributes, wanted, sets, Dv } = attentionCase(sizes);
      // Of each head's queries every fourth.
      const [weights, dims] = given.queryWeights;
      const sampledWeights = [weights.map((weight, i) => ((i % T) % 4 === 0 ? weight : 0)), dims] as const;
      const r = await compute({ ...given, sampledWeights }, (g, x) => {
        const cached = { keys: x.keys, values: x.values, keyScales: null, valueScales: null };
        const { q, k, v, positions, slots, queryWeights, queryMask, eachQuery } = x;
        const logTokens = sizes.merged ? x.logTokens : null;
        const inputs = { q, k, v, positions, slots, logTokens, cached, sinks: null };
        const { y, sums, maxima } = attention.attend(g, { ...inputs, queryWeights, queryMask }, attributes);
        const bare = attention.attend(g, { ...inputs, queryWeights: null, queryMask: null }, attributes);
        const each = attention.attend(g, { ...inputs, queryWeights: null, queryMask: eachQuery }, attributes);
        const sampled = { ...inputs, queryWeights: x.sampledWeights, queryMask: null };
        const ofSamples = (sumStep: number) => attention.attend(g, sampled, { ...attributes, sumStep });
        const { echoedPositions, noEcho } = x;
        const echoed = [x.echoed, x.echoedKeys] as const;
        const again = { k, positions, slots, logTokens, cached, echoed, echoedPositions, sinks: null };
        return {
          ...{ y, sums: sums!, bare: bare.y, maxima: maxima!, each: each.maxima! },
          ...{ sampled: ofSamples(4).sums!, sampledY: ofSamples(4).y, ofAll: ofSamples(1).sums! },
          echo: attention.echo(g, { ...again, mask: queryMask }, { ...attributes, isOfHeld: true }),
          ownEcho: attention.echo(g, { ...again, mask: queryMask }, { ...attributes, isOfHeld: false }),
          noEcho: attention.echo(g, { ...again, mask: noEcho }, { ...attributes, isOfHeld: true }),
        };
      });
      close(r.y, wanted.y, [B, T, H * Dv]);
      close(r.bare, wanted.y, [B, T, H * Dv]);
      close(r.sampledY, wanted.y, [B, T, H * Dv]);
      close(r.sampled, r.ofAll.data, r.ofAll.dims);
      if (free > 0 && groups === 1 && !attributes.alibi) {
        const [D, [keys], [k], [slots]] = [given.k[1][3], given.keys, given.k, given.slots];
        const filled = filledSlots(slots, 0, C);
        expect(filled).toBeLessThanOrEqual(C - free);
        expect(keys.subarray(filled * D, (filled + T) * D)).toEqual(k.subarray(0, T * D));
      }
      const filled = range(B).map((b) => filledSlots(given.slots[0] as Float32Array, b * groups * C, C));
      close(behindSlots(r.sums, filled, C, T), wanted.sums, [B, G, sets, C + T]);
      close(behindSlots(r.maxima, filled, C, T), wanted.maxima, [B, G, 1, C + T], 1e-6);
      close(behindSlots(r.each, filled, C, T), wanted.eachMaxima, [B, G, T, C + T], 1e-6);
      close(r.echo, wanted.echo, [B, G, 1, C + T], 1e-6);
      close(r.ownEcho, ofChunk(wanted.echo, C, T), [B, G, 1, T], 1e-6);
      expect(r.noEcho.data).toHaveLength(0);
    },
  );

  it('to given states, within a sequence, and moments of queries', async () => {
    const [B, H, G, T, D, S] = [2, 4, 2, 3, 8, 5];
    const [q, k, v] = [noise([B, H, T, D], 1), noise([B, G, S, D], 2), noise([B, G, S, D], 3)];
    const mask = Float32Array.from({ length: B * S }, (_, i) => (i % 4 === 1 ? HIDDEN : 0));
    const [k2, v2] = [noise([B, G, T, D], 4), noise([B, G, T, D], 5)];
    const padding = Float32Array.of(0, 0, 0, 0, 0, HIDDEN);
    const order = Float32Array.of(0, 1, 2, 0, 1, 2);
    const w = noise([B, T], 6);
    const r = await compute(
      {
        q: [q, [B, H, T, D]],
        k: [k, [B, G, S, D]],
        v: [v, [B, G, S, D]],
        mask: [mask, [B, 1, S]],
        k2: [k2, [B, G, T, D]],
        v2: [v2, [B, G, T, D]],
        padding: [padding, [B, T]],
        order: [order, [B, T]],
        w: [w, [B, T]],
      },
      (g, x) => {
        const m = attention.queryMoments(g, x.q, x.w, G);
        return {
          to: attention.attendTo(g, { q: x.q, k: x.k, v: x.v }, x.mask, { scale: 0.4, softcap: null }),
          within: attention.attendWithin(
            g,
            { q: x.q, k: x.k2, v: x.v2 },
            { mask: x.padding, order: x.order },
            {
              scale: 0.4,
              softcap: null,
              window: 2,
              chunk: null,
              alibi: null,
              causal: false,
            },
          ),
          sum: m.sum,
          outer: m.outer,
        };
      },
    );
    const soft = (scores: number[]) => {
      const most = Math.max(...scores);
      const e = scores.map((s) => Math.exp(s - most));
      const total = e.reduce((a, c) => a + c, 0);
      return e.map((x) => x / total);
    };
    const byHand = (
      keys: Float32Array,
      values: Float32Array,
      n: number,
      hidden: (b: number, t: number, s: number) => boolean,
    ) => {
      const y = new Float32Array(B * T * H * D);
      for (let b = 0; b < B; b++)
        for (let h = 0; h < H; h++)
          for (let t = 0; t < T; t++) {
            const gr = Math.floor(h / (H / G));
            const scores = Array.from({ length: n }, (_, s) => {
              if (hidden(b, t, s)) return -Infinity;
              let dot = 0;
              for (let d = 0; d < D; d++)
                dot += q[((b * H + h) * T + t) * D + d] * keys[((b * G + gr) * n + s) * D + d];
              return dot * 0.4;
            });
            soft(scores).forEach((x, s) => {
              for (let d = 0; d < D; d++)
                y[(b * T + t) * H * D + h * D + d] += x * values[((b * G + gr) * n + s) * D + d];
            });
          }
      return y;
    };
    close(
      r.to,
      byHand(k, v, S, (b, _, s) => mask[b * S + s] !== 0),
      [B, T, H * D],
    );
    close(
      r.within,
      byHand(k2, v2, T, (b, t, s) => padding[b * T + s] !== 0 || s <= t - 2 || s >= t + 2),
      [B, T, H * D],
    );
    const sum = new Float32Array(B * H * D);
    const outer = new Float32Array(B * H * D * D);
    for (let b = 0; b < B; b++)
      for (let h = 0; h < H; h++)
        for (let t = 0; t < T; t++)
          for (let d = 0; d < D; d++) {
            const own = q.subarray(((b * H + h) * T + t) * D);
            sum[(b * H + h) * D + d] += w[b * T + t] * own[d];
            for (let e = 0; e < D; e++) outer[((b * H + h) * D + d) * D + e] += w[b * T + t] * own[d] * own[e];
          }
    close(r.sum, sum, [B, H, D]);
    close(r.outer, outer, [B, H, D, D]);
  });
});

/** The products of keys by hand [B, G, C + T]. */
function keyProductsOf(
  k: Float32Array,
  sums: Float32Array,
  keys: Float32Array,
  sizes: readonly number[],
): Float32Array {
  const [lines, T, C, D] = sizes;
  const out = new Float32Array(lines * (C + T));
  const at = (x: Float32Array, i: number) => x.subarray(i * D, (i + 1) * D);
  for (let line = 0; line < lines; line++) {
    const sum = at(sums, line).slice();
    const own = Array.from({ length: T }, (_, t) => at(k, line * T + t));
    for (const key of own) for (let d = 0; d < D; d++) sum[d] += key[d] / (Math.hypot(...key) || 1);
    const all = [...Array.from({ length: C }, (_, c) => at(keys, line * C + c)), ...own];
    all.forEach((key, j) => {
      for (let d = 0; d < D; d++) out[line * (C + T) + j] += key[d] * sum[d];
    });
  }
  return out;
}

describe('products of keys with the sum of their directions', () => {
  it.each([
    [1, 5],
    [3, 5],
    [1, 0],
  ])('T %s, C %s', async (T, C) => {
    const [B, G, D] = [2, 3, 8];
    const [k, sums, keys] = [noise([B, G, T, D], 1), noise([B, G, 1, D], 2), noise([B, G, C, D], 3)];
    k.fill(0, 0, D); // a key of zeros has no direction
    const halves = Uint16Array.from(keys, floatToHalf);
    const run = async (buffer: 'float32' | 'float16', slots: Float32Array | Uint16Array) => {
      const { y } = await compute(
        { k: [k, [B, G, T, D]], sums: [sums, [B, G, 1, D]], keys: [slots, [B, G, C, D]] },
        (g, x) => {
          const cached = { keys: x.keys, values: x.keys, keyScales: null, valueScales: null };
          return { y: attention.keyProducts(g, x.k, x.sums, cached, buffer) };
        },
      );
      return y;
    };
    const sizes = [B * G, T, C, D];
    close(await run('float32', keys), keyProductsOf(k, sums, keys, sizes), [B, G, C + T]);
    // Sums are not rounded to halves.
    const rounded = Float32Array.from(halves, halfToFloat);
    close(await run('float16', halves), keyProductsOf(k, sums, rounded, sizes), [B, G, C + T]);
  });
});

describe('moments of the queries of one token', () => {
  it('are the queries', async () => {
    const q = noise([2, 4, 1, 8], 1);
    const r = await compute({ q: [q, [2, 4, 1, 8]], w: [Float32Array.of(1, 1), [2, 1]] }, (g, x) =>
      attention.queryMoments(g, x.q, x.w, 2),
    );
    close(r.sum, q, [2, 4, 8]);
    expect(r.outer.data).toHaveLength(0);
  });
});

const PLAIN_ROUTER: RouterSpec = {
  perToken: 1,
  score: 'softmax',
  bias: false,
  choiceBias: false,
  groups: null,
  normP: null,
  normEps: 0,
  normMin: 0,
  scale: 1,
  jitter: 0,
};

describe('experts', () => {
  it('of each token are chosen, weighted and summed', async () => {
    const [N, E, F, n, k] = [3, 8, 4, 5, 2];
    const x = noise([N, E], 1);
    const logits = noise([N, n], 2);
    const mats = { gate: noise([n * F, E], 3), up: noise([n * F, E], 4), down: noise([n * E, F], 5) };
    for (const normP of [null, 1, 2]) {
      const router = { ...PLAIN_ROUTER, perToken: k, normP };
      const r = await compute(
        { x: [x, [N, E]], logits: [logits, [N, n]] },
        (g, v, param) => {
          const routing = experts.route(g, v.logits, null, router);
          const y = experts.experts(g, v.x, routing, [param('gate'), param('up'), param('down')], {
            layout: 'separate',
            spec: {
              count: n,
              size: F,
              bias: false,
              activation: 'silu',
              gated: true,
              clamp: null,
              scaledInput: false,
              latent: null,
            },
            router,
          });
          return { y, weights: routing.weights };
        },
        { gate: [mats.gate, [n * F, E]], up: [mats.up, [n * F, E]], down: [mats.down, [n * E, F]] },
      );
      const wanted = new Float32Array(N * E);
      const wantedWeights: number[] = [];
      for (let t = 0; t < N; t++) {
        const own = logits.subarray(t * n, t * n + n);
        const e = [...own].map(Math.exp);
        const total = e.reduce((a, b) => a + b, 0);
        const best = e
          .map((p, i) => [p / total, i] as const)
          .sort((a, b) => b[0] - a[0])
          .slice(0, k);
        const norm = normP === null ? 1 : best.reduce((s, [p]) => s + p ** normP, 0) ** (1 / normP);
        for (const [p, i] of best) {
          wantedWeights.push(p / norm);
          const hidden = Array.from({ length: F }, (_, f) => {
            let [a, b] = [0, 0];
            for (let c = 0; c < E; c++) {
              a += x[t * E + c] * mats.gate[(i * F + f) * E + c];
              b += x[t * E + c] * mats.up[(i * F + f) * E + c];
            }
            return a * sigmoid(a) * b;
          });
          for (let c = 0; c < E; c++)
            for (let f = 0; f < F; f++) wanted[t * E + c] += (p / norm) * hidden[f] * mats.down[(i * E + c) * F + f];
        }
      }
      close(r.weights, wantedWeights, [N, k]);
      close(r.y, wanted, [N, E]);
    }
  });
});

describe('states', () => {
  it('go on after as many tokens as are asked for', async () => {
    const [B, T, W, K, S] = [2, 5, 4, 3, 2];
    const [conv, x, w, b] = [noise([B, K - 1, W], 1), noise([B, T, W], 2), noise([K, W], 3), noise([W], 4)];
    const [h, decay] = [noise([B, W], 5), noise([B, T, W], 6).map(Math.abs)];
    const times = [1, 5, 3, 2];
    const r = await compute(
      {
        conv: [conv, [B, K - 1, W]],
        x: [x, [B, T, W]],
        h: [h, [B, W]],
        decay: [decay, [B, T, W]],
        times: [ints(...times), [B, S]],
      },
      (g, v, param) => {
        const [y, next] = states.convolve(g, v.conv, v.x, param('w'), param('b'), v.times);
        const [scan, last] = states.linearScan(g, v.h, v.decay, v.x, v.times);
        return { y, next, scan, last };
      },
      { w: [w, [K, W]], b: [b, [W]] },
    );
    const padded = (bb: number, i: number, c: number) =>
      i < K - 1 ? conv[(bb * (K - 1) + i) * W + c] : x[(bb * T + i - K + 1) * W + c];
    const y = Float32Array.from({ length: B * T * W }, (_, n) => {
      const [bb, t, c] = [Math.floor(n / (T * W)), Math.floor(n / W) % T, n % W];
      return [0, 1, 2].reduce((s, i) => s + w[i * W + c] * padded(bb, t + i, c), b[c]);
    });
    close(r.y, y, [B, T, W]);
    const next = Float32Array.from({ length: B * S * (K - 1) * W }, (_, n) => {
      const c = n % W;
      const i = Math.floor(n / W) % (K - 1);
      const s = Math.floor(n / W / (K - 1)) % S;
      const bb = Math.floor(n / W / (K - 1) / S);
      return padded(bb, times[bb * S + s] + i, c);
    });
    close(r.next, next, [B, S, K - 1, W]);
    const scan = new Float32Array(B * T * W);
    for (let bb = 0; bb < B; bb++)
      for (let c = 0; c < W; c++) {
        let state = h[bb * W + c];
        for (let t = 0; t < T; t++) {
          state = decay[(bb * T + t) * W + c] * state + x[(bb * T + t) * W + c];
          scan[(bb * T + t) * W + c] = state;
        }
      }
    close(r.scan, scan, [B, T, W]);
    const last = Float32Array.from({ length: B * S * W }, (_, n) => {
      const [bb, s, c] = [Math.floor(n / (S * W)), Math.floor(n / W) % S, n % W];
      return scan[(bb * T + times[bb * S + s] - 1) * W + c];
    });
    close(r.last, last, [B, S, W]);
  });
});

describe('adapters', () => {
  it('add products of low rank, and vectors that differ by row', async () => {
    const [B, T, E] = [2, 3, 6];
    const [x, a] = [noise([B, T, E], 1), noise([3, E], 2)];
    const [b0, b1, mask] = [noise([2, 4], 3), noise([1, 5], 4), noise([B, 1, 3], 5)];
    const lines = noise([B, 1, 4], 6);
    const table = noise([7, 3], 7);
    const wide = noise([3, 5], 8);
    const ids = [1, 0, 6, 5, 5, 2];
    const r = await compute(
      {
        x: [x, [B, T, E]],
        a: [a, [3, E]],
        b0: [b0, [2, 4]],
        b1: [b1, [1, 5]],
        mask: [mask, [B, 1, 3]],
        lines: [lines, [B, 1, 4]],
        ids: [ints(...ids), [B, T]],
        logitRows: [ints(5, 0, 2), [3]],
        table: [table, [7, 3]],
        wide: [wide, [3, 5]],
        ranks: [ints(2, 1), [2]],
      },
      (g, v) => ({
        y: adapters.lowRank(g, v.x, v.a, v.mask, [v.b0, v.b1], v.ranks),
        rows: adapters.lowRankRows(g, v.ids, v.table, null, v.wide),
        flat: adapters.rowVector(g, v.lines, v.ids, v.logitRows, 'flat'),
        logits: adapters.rowVector(g, v.lines, v.ids, v.logitRows, 'logits'),
      }),
    );
    const rank = (line: number, k: number) => {
      let sum = 0;
      for (let c = 0; c < E; c++) sum += x[line * E + c] * a[k * E + c];
      return sum * mask[Math.floor(line / T) * 3 + k];
    };
    const y = Float32Array.from({ length: B * T * 9 }, (_, n) => {
      const [line, o] = [Math.floor(n / 9), n % 9];
      return o < 4 ? rank(line, 0) * b0[o] + rank(line, 1) * b0[4 + o] : rank(line, 2) * b1[o - 4];
    });
    close(r.y, y, [B, T, 9]);
    const rows = Float32Array.from({ length: B * T * 5 }, (_, n) => {
      const [line, o] = [Math.floor(n / 5), n % 5];
      return [0, 1, 2].reduce((s, k) => s + table[ids[line] * 3 + k] * wide[k * 5 + o], 0);
    });
    close(r.rows, rows, [B, T, 5]);
    close(
      r.flat,
      Float32Array.from({ length: 24 }, (_, n) => lines[Math.floor(n / 12) * 4 + (n % 4)]),
      [6, 4],
    );
    close(
      r.logits,
      [5, 0, 2].flatMap((row) => [...lines.subarray(Math.floor(row / T) * 4, Math.floor(row / T) * 4 + 4)]),
      [3, 4],
    );
  });

  it('attend to prefixes, each by itself', async () => {
    for (const b of [1, 2]) {
      const [B, H, G, T, D, n, P] = [2, 4, 2, 2, 4, 2, 3];
      const q = noise([B, H, T, D], 1);
      const [keys, values] = [noise([b, G, n * P, D], 2), noise([b, G, n * P, D], 3)];
      const gate = noise([b, H, n], 4);
      const hidden = Float32Array.from({ length: b * n * P }, (_, i) => (i % 3 === 2 ? HIDDEN : 0));
      const { y } = await compute(
        {
          q: [q, [B, H, T, D]],
          keys: [keys, [b, G, n * P, D]],
          values: [values, [b, G, n * P, D]],
          gate: [gate, [b, H, n]],
          hidden: [hidden, [b, n, P]],
        },
        (g, v) => ({
          y: attention.prefixAttend(
            g,
            v.q,
            { keys: v.keys, values: v.values, gate: v.gate, hidden: v.hidden },
            { scale: 0.5, softcap: null },
          ),
        }),
      );
      const wanted = new Float32Array(B * T * H * D);
      for (let bb = 0; bb < B; bb++)
        for (let h = 0; h < H; h++)
          for (let t = 0; t < T; t++)
            for (let i = 0; i < n; i++) {
              const own = b === 1 ? 0 : bb;
              const gr = Math.floor(h / 2);
              const e = Array.from({ length: P }, (_, p) => {
                if (hidden[(own * n + i) * P + p] !== 0) return 0;
                let dot = 0;
                for (let d = 0; d < D; d++)
                  dot += q[((bb * H + h) * T + t) * D + d] * keys[((own * G + gr) * n * P + i * P + p) * D + d];
                return Math.exp(0.5 * dot);
              });
              const total = e.reduce((s, c) => s + c, 0);
              e.forEach((weight, p) => {
                for (let d = 0; d < D; d++)
                  wanted[(bb * T + t) * H * D + h * D + d] +=
                    (weight / total) *
                    gate[(own * H + h) * n + i] *
                    values[((own * G + gr) * n * P + i * P + p) * D + d];
              });
            }
      close(y, wanted, [B, T, H * D]);
    }
  });
});

describe('recurrences', () => {
  const given = (inputs: ReturnType<typeof gatedDeltaCase>['given']): Given =>
    Object.fromEntries(Object.entries(inputs).map(([name, { data, dims }]) => [name, [data, dims] as const]));
  const closeTo = (found: ArrayLike<number>, wanted: ArrayLike<number>) => {
    expect(found.length).toBe(wanted.length);
    for (let i = 0; i < wanted.length; i++) expect(Math.abs(found[i] - wanted[i])).toBeLessThan(2e-6);
  };

  it.each(Object.entries(STATE_TIMES))('by the gated delta rule: %s', async (_, times) => {
    const { given: inputs, y, next, ofTokens } = gatedDeltaCase(times);
    const r = await compute(given(inputs), (g, v) => {
      const [result, after] = states.gatedDelta(g, v as never);
      return { y: result, next: after };
    });
    closeTo(ofTokens(r.y.data), y);
    closeTo(r.next.data, next);
  });

  const scans = Object.entries(STATE_TIMES).flatMap(([name, times]) =>
    (['head', 'state'] as const).map((decay) => [decay, name, times] as const),
  );
  it.each(scans)('by a scan with a decay for each %s: %s', async (decay, _, times) => {
    const limits = { low: 0, high: Number.POSITIVE_INFINITY };
    const { given: inputs, y, next, ofTokens } = selectiveScanCase(decay, times, limits);
    const r = await compute(given(inputs), (g, v) => {
      const [result, after] = states.selectiveScan(g, v as never, limits);
      return { y: result, next: after };
    });
    closeTo(ofTokens(r.y.data), y);
    closeTo(r.next.data, next);
  });
});
