/**
 * @file Matrices, embeddings, norms, rotation.
 */
import type { OpAttributes } from '../../../ops/types.ts';
import { product } from '../../../util/numbers.ts';
import { blockLength } from '../binding/types.ts';
import type { Tensor } from '../memory/tensor.ts';
import { binary } from './elementwise.ts';
import type { GraphMaker, RunInputs } from './graph-maker.ts';

/** x · Wᵀ (+ b). @param x [..., in] */
export function linear(g: GraphMaker, x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  const cols = x.dims.at(-1)!;
  const lines = product(x.dims.slice(0, -1));
  const flat = g.reshape(x, [lines, cols]);
  const y = g.concat(
    (weight.pieces ?? [weight]).map((piece) => multiply(g, flat, piece)),
    1,
  );
  const shaped = g.reshape(y, [...x.dims.slice(0, -1), weight.dims[0]]);
  return bias ? binary(g, 'add', shaped, bias) : shaped;
}

/** @param x [n, in] */
function multiply(g: GraphMaker, x: Tensor, weight: Tensor): Tensor {
  return weight.refined
    ? sumOfTerms(g, product2d(g, g.terms(x, blockLength(weight.type)), weight))
    : product2d(g, x, weight);
}

/** In pieces where the chunk is long. @param x [n, in] */
function product2d(g: GraphMaker, x: Tensor, weight: Tensor): Tensor {
  const [lines, cols] = x.dims;
  const [rows] = weight.dims;
  const lengths = g.pieces(lines, 2 * rows * cols);
  if (lengths.length === 1) return g.multiply(weight, x);
  const dense = g.dense(x);
  return g.inPieces(
    [lines, rows],
    lengths,
    (start, length) => g.multiply(weight, g.slice(dense, 0, start, length)).pointer,
  );
}

/** The sum of the two halves of the first axis: what products give for the terms of x. */
export function sumOfTerms(g: GraphMaker, y: Tensor): Tensor {
  const lines = y.dims[0] / 2;
  return binary(g, 'add', g.slice(y, 0, 0, lines), g.slice(y, 0, lines, lines));
}

export function norm(
  g: GraphMaker,
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  { kind, eps }: OpAttributes['norm'],
): Tensor {
  const rows = x.strides[0] === 4 ? x : g.dense(x);
  const bare = g.same(x, kind === 'rms' ? 'ggml_rms_norm' : 'ggml_norm', rows.pointer, eps);
  const scaled = weight ? binary(g, 'mul', bare, weight) : bare;
  return bias ? binary(g, 'add', scaled, bias) : scaled;
}

/**
 * x · [cos, cos] + turned(x) · [-sin, sin], where turned(x) has the two numbers of each pair exchanged. The factors are
 * of the host: ggml's own rotation multiplies angles up, and is off by 1e-3 at position 32,000.
 * @param x [B, heads, T, D]
 */
export function rotate(
  g: GraphMaker,
  x: Tensor,
  factors: { readonly cos: Tensor; readonly sin: Tensor },
  pairs: number,
  interleave: boolean,
): Tensor {
  const D = x.dims[3];
  if (!interleave && D === 2 * pairs) return rotated(g, x, exchangedHalves(g, x), factors);
  const turned = interleave ? turnedNeighbours(g, x, pairs) : turnedHalves(g, x, pairs);
  const kept = D > 2 * pairs ? [g.slice(x, 3, 2 * pairs, D - 2 * pairs)] : [];
  return rotated(g, x, g.concat([...turned, ...kept], 3), factors);
}

function rotated(g: GraphMaker, x: Tensor, turned: Tensor, { cos, sin }: { cos: Tensor; sin: Tensor }): Tensor {
  return binary(g, 'add', binary(g, 'mul', x, cos), binary(g, 'mul', turned, sin));
}

/** Both halves of each row exchanged: a row is copied in two pieces, where a concatenation copies number by number. */
function exchangedHalves(g: GraphMaker, x: Tensor): Tensor {
  const rows = x.strides[0] === 4 ? x : g.dense(x);
  return g.same(x, 'ggml_roll', rows.pointer, x.dims[3] / 2, 0, 0, 0);
}

function turnedHalves(g: GraphMaker, x: Tensor, pairs: number): Tensor[] {
  return [g.slice(x, 3, pairs, pairs), g.slice(x, 3, 0, pairs)];
}

function turnedNeighbours(g: GraphMaker, x: Tensor, pairs: number): Tensor[] {
  const [B, heads, T] = x.dims;
  const part = g.reshape(g.dense(g.slice(x, 3, 0, 2 * pairs)), [B * heads, T, pairs, 2]);
  const exchanged = g.concat([g.slice(part, 3, 1, 1), g.slice(part, 3, 0, 1)], 3);
  return [g.reshape(exchanged, [B, heads, T, 2 * pairs])];
}

/** Pairs of neighbours, and of halves, as `ggml_rope_ext` tells them. */
const ROPE_MODES = { neighbours: 0, halves: 2 } as const;

/** What ggml's rotation of one token reads. */
export interface RotationAngles {
  /** int32 [1]: a position of 1. */
  readonly one: Tensor;
  /**
   * [D / 2]: what the position is divided by to give the angle of each pair. Those that are not rotated are read, too.
   */
  readonly divisors: Tensor;
}

/** The angles of one token's rotation, from its cos and sin: within half a turn, so that they are exact in float32. */
export function rotationAngles(
  g: GraphMaker,
  names: { readonly cos: string; readonly sin: string; readonly index: string },
  [D, pairs]: readonly [number, number],
): RotationAngles {
  const divisors = g.derive([D / 2], (inputs: RunInputs, out) => {
    out.fill(1, pairs);
    const cos = inputs[names.cos].data as Float32Array;
    const sin = inputs[names.sin].data as Float32Array;
    const row = Number((inputs[names.index].data as BigInt64Array)[0]) * pairs;
    for (let i = 0; i < pairs; i++) out[i] = 1 / Math.atan2(sin[row + i], cos[row + i]);
  });
  return { one: g.over(Int32Array.of(1), [1]), divisors };
}

/**
 * Rotates one token with ggml's own operator, at a base of 1 and position 1, so that angles are those of the host. It
 * replaces four operators, which took 0.3 ms of a step of 30 layers.
 * @param x [1, heads, 1, D], D even
 */
export function rotateOne(
  g: GraphMaker,
  x: Tensor,
  { one, divisors }: RotationAngles,
  pairs: number,
  interleave: boolean,
): Tensor {
  const [, heads, , D] = x.dims;
  const rows = x.strides[0] === 4 ? x : g.dense(x);
  const { strides: s } = rows;
  const byHead = g.view(rows, [1, 1, heads, D], [s[0], s[2], s[2] * heads, s[2] * heads], 0);
  const mode = interleave ? ROPE_MODES.neighbours : ROPE_MODES.halves;
  const args = [2 * pairs, mode, 0, 1, 1, 0, 1, 0, 0] as const;
  const rotated = g.call('ggml_rope_ext', byHead.pointer, one.pointer, divisors.pointer, ...args);
  return g.reshape(g.made(rotated, byHead.dims), x.dims);
}

/** The factors of a rotation [B, 1, T, D]. @param names of the graph's inputs cos, sin and index. */
export function rotationFactors(
  g: GraphMaker,
  names: { readonly cos: string; readonly sin: string; readonly index: string },
  [B, T, D, pairs]: readonly [number, number, number, number],
  interleave: boolean,
): { cos: Tensor; sin: Tensor } {
  /** Where the numbers of pair i are in a head. */
  const first = (i: number): number => (interleave ? 2 * i : i);
  const second = (i: number): number => (interleave ? 2 * i + 1 : i + pairs);
  const derive = (name: 'cos' | 'sin', rest: number, sign: number): Tensor =>
    g.derive([B, 1, T, D], (inputs: RunInputs, out) => {
      const from = inputs[names[name]].data as Float32Array;
      const index = inputs[names.index].data as BigInt64Array;
      for (let t = 0; t < B * T; t++) {
        const row = Number(index[t]) * pairs;
        const at = t * D;
        for (let i = 0; i < pairs; i++) {
          out[at + first(i)] = sign * from[row + i];
          out[at + second(i)] = from[row + i];
        }
        for (let i = 2 * pairs; i < D; i++) out[at + i] = rest;
      }
    });
  return { cos: derive('cos', 1, 1), sin: derive('sin', 0, -1) };
}

/** A block-diagonal matrix. @param x [B, T, W] @param weight [blocks, in, out] */
export function blockLinear(g: GraphMaker, x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  const [B, T, W] = x.dims;
  const [blocks, width] = weight.dims;
  const turned = g.dense(g.transpose(weight, [0, 2, 1]));
  const heads = g.transpose(g.reshape(x, [B * T, blocks, width]), [1, 0, 2]);
  const y = g.multiply(turned, g.dense(heads)); // [blocks, B·T, out]
  return binary(g, 'add', g.reshape(g.dense(g.transpose(y, [1, 0, 2])), [B, T, W]), bias);
}
