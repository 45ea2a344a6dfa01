/**
 * @file Elementwise operators and shapes.
 */
import type { BinaryKind, OpAttributes, UnaryKind } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import { product } from '../../../util/numbers.ts';
import type { Tensor } from '../memory/tensor.ts';
import { type GraphMaker, isDense, reversed } from './graph-maker.ts';

const BINARY = { add: 'ggml_add', sub: 'ggml_sub', mul: 'ggml_mul', div: 'ggml_div' } as const;

/** NumPy's broadcasting, where ggml only repeats the second operand. */
export function binary(g: GraphMaker, kind: BinaryKind, a: Tensor, b: Tensor): Tensor {
  const rank = Math.max(a.dims.length, b.dims.length);
  const lengthOf = (x: Tensor, axis: number): number => x.dims[axis - rank + x.dims.length] ?? 1;
  const dims = Array.from({ length: rank }, (_, axis) => {
    const [x, y] = [lengthOf(a, axis), lengthOf(b, axis)];
    if (x !== y && x !== 1 && y !== 1) throw new GraphError(`shapes [${a.dims}] and [${b.dims}] do not fit each other`);
    return x === 1 ? y : x;
  });
  const isWhole = (x: Tensor): boolean => reversed(x.dims).every((length, axis) => length === reversed(dims)[axis]);
  const commutes = kind === 'add' || kind === 'mul';
  const [first, second] = commutes && !isWhole(a) && isWhole(b) ? [b, a] : [a, b];
  const left = isWhole(first) ? rows(g, first) : g.repeat(rows(g, first), dims);
  return g.made(g.call(BINARY[kind], left.pointer, rows(g, second).pointer), dims);
}

/** ggml's elementwise operators want rows without gaps. */
function rows(g: GraphMaker, x: Tensor): Tensor {
  return x.strides[0] === 4 || reversed(x.dims)[0] === 1 ? x : g.dense(x);
}

export const scale = (g: GraphMaker, x: Tensor, factor: number): Tensor =>
  g.same(x, 'ggml_scale', g.dense(x).pointer, factor);

/** x · factor + offset */
export const affine = (g: GraphMaker, x: Tensor, factor: number, offset: number): Tensor =>
  g.same(x, 'ggml_scale_bias', g.dense(x).pointer, factor, offset);

const mul = (g: GraphMaker, a: Tensor, b: Tensor): Tensor => binary(g, 'mul', a, b);

/** √(2/π), of GELU's approximation by tanh. */
const ROOT = Math.sqrt(2 / Math.PI);

/** Operators that are one call of ggml, exact to a few units of float32's last digit. */
const CALLS = {
  silu: 'ggml_silu',
  gelu: 'ggml_gelu_erf',
  relu: 'ggml_relu',
  tanh: 'ggml_tanh',
  sigmoid: 'ggml_sigmoid',
  softplus: 'ggml_softplus',
  exp: 'ggml_exp',
  neg: 'ggml_neg',
  sqrt: 'ggml_sqrt',
} as const;

/** ggml's own forms of these look their values up in tables of halves, and are off by 1e-3. */
const COMPOSED = {
  // x · σ(2u) with u = √(2/π) · (x + 0.044715 x³), which is x · (1 + tanh u) / 2
  'gelu-tanh': (g: GraphMaker, x: Tensor) => {
    const inner = mul(g, affine(g, unary(g, 'square', x), 2 * ROOT * 0.044715, 2 * ROOT), x);
    return mul(g, x, unary(g, 'sigmoid', inner));
  },
  'quick-gelu': (g: GraphMaker, x: Tensor) => mul(g, x, unary(g, 'sigmoid', scale(g, x, 1.702))),
  relu2: (g: GraphMaker, x: Tensor) => unary(g, 'square', unary(g, 'relu', x)),
} as const;

export function unary(g: GraphMaker, kind: UnaryKind | 'square' | 'log' | 'abs' | 'step', x: Tensor): Tensor {
  const dense = g.dense(x);
  if (kind in COMPOSED) return COMPOSED[kind as keyof typeof COMPOSED](g, dense);
  if (kind === 'square') return g.same(x, 'ggml_sqr', dense.pointer);
  if (kind === 'log') return g.same(x, 'ggml_log', dense.pointer);
  if (kind === 'abs') return g.same(x, 'ggml_abs', dense.pointer);
  if (kind === 'step') return g.same(x, 'ggml_step', dense.pointer);
  const name = CALLS[kind as keyof typeof CALLS];
  if (!name) throw new GraphError(`the ggml engine does not know the function ${kind}`);
  return g.same(x, name, dense.pointer);
}

/** Learned activation xIELU. @param parameters alphaP, alphaN, beta, eps of one element each. */
export function xielu(g: GraphMaker, x: Tensor, parameters: readonly Tensor[]): Tensor {
  const [alphaP, alphaN, beta, eps] = parameters;
  const positive = unary(g, 'step', x);
  // min(x, eps) is eps - relu(eps - x)
  const least = binary(g, 'sub', eps, unary(g, 'relu', binary(g, 'sub', eps, x)));
  const curve = binary(g, 'sub', affine(g, unary(g, 'exp', least), 1, -1), x);
  const below = mul(g, mul(g, curve, affine(g, positive, -1, 1)), binary(g, 'add', beta, unary(g, 'softplus', alphaN)));
  const above = mul(g, unary(g, 'square', unary(g, 'relu', x)), unary(g, 'softplus', alphaP));
  return binary(g, 'add', binary(g, 'add', above, below), mul(g, x, beta));
}

export const softcap = (g: GraphMaker, x: Tensor, cap: number): Tensor =>
  scale(g, unary(g, 'tanh', scale(g, x, 1 / cap)), cap);

/** ggml clamps in place, so a copy is clamped. */
export const clip = (g: GraphMaker, x: Tensor, { low, high }: OpAttributes['clip']): Tensor =>
  g.same(x, 'ggml_clamp', g.copy(x).pointer, low, high);

/** The shape that `target` stands for. */
export function reshapeTo(g: GraphMaker, x: Tensor, target: readonly number[]): Tensor {
  const size = product(x.dims);
  const dims = target.map((length, axis) => (length === 0 ? x.dims[axis] : length));
  const known = product(dims.filter((length) => length !== -1));
  return g.reshape(
    x,
    dims.map((length) => (length === -1 ? size / known : length)),
  );
}

export function split(g: GraphMaker, x: Tensor, { axis, lengths }: OpAttributes['split']): Tensor[] {
  let start = 0;
  return lengths.map((length) => {
    const piece = g.slice(x, axis, start, length);
    start += length;
    return piece;
  });
}

export function reduceSum(g: GraphMaker, x: Tensor, axis: number): Tensor {
  const last = x.dims.length - 1;
  if (axis === last) return g.sumLast(x);
  const perm = x.dims.map((_, i) => (i === axis ? last : i === last ? axis : i));
  return g.transpose(g.sumLast(g.transpose(x, perm)), perm);
}

/** act(gate) · up as one operator, where ggml has it. */
const GATED: Readonly<Partial<Record<UnaryKind, 'ggml_swiglu_split'>>> = { silu: 'ggml_swiglu_split' };

export function gated(g: GraphMaker, kind: UnaryKind, gate: Tensor, up: Tensor): Tensor {
  const name = GATED[kind];
  const fits = gate.dims.length === up.dims.length && gate.dims.every((length, i) => length === up.dims[i]);
  if (!name || !fits) return mul(g, unary(g, kind, gate), up);
  const [a, b] = [isRows(gate) ? gate : g.dense(gate), isRows(up) ? up : g.dense(up)];
  return g.same(gate, name, a.pointer, b.pointer);
}

/** Rows without gaps, which may lie apart, at one distance. */
function isRows(x: Tensor): boolean {
  if (isDense(x)) return true;
  const [, n1, n2] = reversed(x.dims);
  return x.strides[0] === 4 && x.strides[2] === x.strides[1] * n1 && x.strides[3] === x.strides[2] * n2;
}
