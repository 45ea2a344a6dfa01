/**
 * Operators of long chunks are computed in pieces, between which ggml looks at aborts.
 */
import { describe, expect, it } from 'vitest';
import { noise } from '../../../../test/support/attention-cases.ts';
import { computeTensor } from '../../../../test/support/compute-tensor.ts';
import { furthest } from '../../../../test/support/furthest.ts';
import { HIDDEN } from '../../../kvcache/slots/slots.ts';
import { openGgml } from '../binding/binding.ts';
import type { Tensor } from '../memory/tensor.ts';
import { attend } from './attention.ts';
import { unary } from './elementwise.ts';
import { GraphMaker } from './graph-maker.ts';

const ggml = openGgml();
const [LINES, WIDTH, WIDER, LAYERS] = [300, 64, 96, 5];
const matrices = Array.from({ length: LAYERS }, (_, i) => [
  noise([WIDER, WIDTH], i).map((value) => value / 8),
  noise([WIDTH, WIDER], 100 + i).map((value) => value / 8),
]);
const given = noise([LINES, WIDTH], 7);

/** Layers of two products each, on pieces of so many lines; null: each product as one operator. */
async function computed(
  lengths: readonly number[] | null,
): Promise<{ y: Float32Array; bytes: number; operators: number }> {
  const g = new GraphMaker(ggml, 1000);
  const multiply = (x: Tensor, values: Float32Array, rows: number): Tensor => {
    const weight = g.over(values, [rows, x.dims[1]]);
    if (!lengths) return g.multiply(weight, x);
    const piece = (start: number, length: number) => g.multiply(weight, g.slice(x, 0, start, length)).pointer;
    return g.inPieces([LINES, rows], lengths, piece);
  };
  let x = g.over(given, [LINES, WIDTH]);
  for (const [up, down] of matrices) x = multiply(unary(g, 'silu', multiply(x, up, WIDER)), down, WIDTH);
  return computeTensor(g, x);
}

/**
 * Attention of 256 tokens to 2,048: 13 G multiplications, as they are counted.
 * @param isCut whether it is computed in pieces.
 */
function attention(isCut: boolean) {
  const [H, G, T, S, D] = [32, 8, 256, 2048, 64];
  const g = new GraphMaker(ggml, 1000, !isCut);
  const of = (dims: readonly number[], seed: number) => g.over(noise(dims, seed), dims);
  const mask = new Float32Array(T * S);
  for (let t = 0; t < T; t++) mask.fill(HIDDEN, t * S + S - T + t + 1, (t + 1) * S);
  const cached = { keys: of([1, G, S - T, D], 1), values: of([1, G, S - T, D], 2) };
  const chunk = [of([1, H, T, D], 3), of([1, G, T, D], 4), of([1, G, T, D], 5)] as const;
  const attributes = { scale: 0.5, softcap: null, alibi: null };
  const [y] = attend(
    g,
    chunk,
    cached,
    g.over(mask, [1, 1, T, S]),
    { queryWeights: null, maxima: null },
    null,
    attributes,
  );
  return computeTensor(g, y);
}

describe('operators in pieces', () => {
  it('give what one operator gives, in the same memory', async () => {
    const whole = await computed(null);
    const one = await computed([LINES]);
    for (const lengths of [
      [150, 150],
      [128, 128, 44],
      [1, 299],
    ]) {
      const pieces = await computed(lengths);
      expect(pieces.operators).toBeGreaterThan(one.operators);
      expect(pieces.bytes).toBe(one.bytes);
      expect(furthest(pieces.y, whole.y)).toBeLessThan(1e-5);
    }
  });

  it('give the same attention', async () => {
    const [whole, pieces] = [await attention(false), await attention(true)];
    expect(pieces.operators).toBeGreaterThan(whole.operators);
    expect(whole.y.some((value) => Math.abs(value) > 0.01)).toBe(true);
    expect(furthest(pieces.y, whole.y)).toBeLessThan(1e-5);
  });

  it('are cut by the work that they are, in multiples of what they are told, and not on a device', () => {
    const g = new GraphMaker(ggml, 10);
    expect(g.pieces(256, 1e6)).toEqual([256]);
    expect(g.pieces(256, 67e6)).toEqual([128, 128]);
    expect(g.pieces(200, 100e6)).toEqual([128, 72]);
    expect(g.pieces(256, 1e9)).toEqual([64, 64, 64, 64]);
    expect(g.pieces(256, 1e9, 128)).toEqual([128, 128]);
    expect(g.pieces(1, 1e10)).toEqual([1]);
    g.context.dispose();
    const packed = new GraphMaker(ggml, 10, true);
    expect(packed.pieces(256, 1e9)).toEqual([256]);
    packed.context.dispose();
  });
});
