/**
 * @file Makes the tensors of one ggml graph. Shapes are told outermost axis first, as in src/ops; ggml's own order is
 * the reverse.
 */
import { GraphError } from '../../../util/errors.ts';
import { product } from '../../../util/numbers.ts';
import type { BASE_FUNCTIONS, Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { blockLength, GGML_TYPES, type GgmlType, rowBytes } from '../binding/types.ts';
import type { Tensor } from '../memory/tensor.ts';
import { MOST_SOURCES, TensorContext } from '../memory/tensor-context.ts';

/** What a step is given, by name of the input. */
export type RunInputs = Readonly<Record<string, { readonly data: unknown; readonly dims: readonly number[] }>>;

/** A small input that the host makes of the step's inputs. */
export interface DerivedInput {
  readonly data: Float32Array | Int32Array;
  readonly fill: (inputs: RunInputs) => void;
}

/** Functions that add a tensor to a context. */
type Makers = {
  [K in keyof typeof BASE_FUNCTIONS]: (typeof BASE_FUNCTIONS)[K] extends readonly ['pointer', 'pointer', ...infer _]
    ? K
    : never;
}[keyof typeof BASE_FUNCTIONS];
type Tail<T extends readonly unknown[]> = T extends readonly [unknown, ...infer R] ? R : never;

/** Multiplications and additions of one operator: some 30 ms of products in 4 bits on two cores with AVX-512. */
const MOST_WORK = 8e9;
/** Of `enum ggml_op_pool`. */
const POOL_MAX = 0;
/** Makes the step of a block of zeros one that can be divided by; no other step is changed. */
const NEARLY_ZERO = 1e-30;

/** Lengths in ggml's order, four of them. */
export function reversed(dims: readonly number[]): [number, number, number, number] {
  const at = (axis: number): number => dims[dims.length - 1 - axis] ?? 1;
  return [at(0), at(1), at(2), at(3)];
}

/** Strides of a tensor without gaps. */
function denseStrides(type: GgmlType, dims: readonly number[]): number[] {
  const [n0, n1, n2] = reversed(dims);
  const element = rowBytes(type, 1);
  const row = rowBytes(type, n0);
  return [element, row, row * n1, row * n1 * n2];
}

export function isDense({ type, dims, strides }: Tensor): boolean {
  const lengths = reversed(dims);
  return denseStrides(type, dims).every((stride, axis) => lengths[axis] === 1 || strides[axis] === stride);
}

export class GraphMaker {
  readonly ggml: Ggml;
  readonly context: TensorContext;
  readonly graph: Pointer;
  readonly derived: DerivedInput[] = [];
  /** Typed arrays that tensors lie in, which have to live as long as the graph. */
  readonly kept: (Float32Array | Int32Array)[] = [];
  readonly #most: number;
  /** Whether a device computes: see the constructor. */
  readonly packed: boolean;
  /** What is made {@link once}. */
  readonly #shared = new Map<string, Tensor>();
  #count = 0;

  /**
   * @param tensors how many there may be: more are an error instead of the end of the process.
   * @param packed gives products only matrices without gaps: Vulkan rounds those with gaps between rows to float16,
   * which changed logits by 2e-4, and multiplies wrong numbers where there are gaps between groups whose rows are no
   * multiple of 64.
   */
  constructor(ggml: Ggml, tensors: number, packed = false) {
    this.packed = packed;
    this.ggml = ggml;
    this.#most = tensors;
    this.context = new TensorContext(ggml, tensors, tensors);
    this.graph = ggml.ggml_new_graph_custom(this.context.pointer, tensors, false);
  }

  /** Tensors so far. */
  get count(): number {
    return this.#count;
  }

  /** Calls one of ggml's functions that add a tensor. */
  call<K extends Makers>(name: K, ...args: Tail<Parameters<Ggml[K]>>): Pointer {
    if (++this.#count > this.#most) throw new GraphError(`the graph has more than ${this.#most} tensors`);
    const make = this.ggml[name] as unknown as (...values: unknown[]) => Pointer;
    return make(this.context.pointer, ...(args as unknown[]));
  }

  /** A tensor without gaps that a call made. */
  made(pointer: Pointer, dims: readonly number[], type: GgmlType = 'f32'): Tensor {
    return { pointer, type, dims, strides: denseStrides(type, dims) };
  }

  /** Elementwise, or along rows: the result has the shape of `x`. */
  same<K extends Makers>(x: Tensor, name: K, ...args: Tail<Parameters<Ggml[K]>>): Tensor {
    return this.made(this.call(name, ...args), x.dims);
  }

  /** A tensor whose address in memory is given by the caller. */
  leaf(type: GgmlType, dims: readonly number[]): Tensor {
    const pointer = this.call('ggml_new_tensor_4d', GGML_TYPES[type], ...reversed(dims));
    return this.made(pointer, dims, type);
  }

  /** A tensor over numbers of the host. */
  over(data: Float32Array | Int32Array, dims: readonly number[]): Tensor {
    const tensor = this.leaf(data instanceof Float32Array ? 'f32' : 'i32', dims);
    this.kept.push(data);
    this.setAddress(tensor, this.ggml.addressOf(data));
    return tensor;
  }

  setAddress({ pointer }: Tensor, address: bigint): void {
    this.ggml.ggml_backend_tensor_alloc(this.ggml.hostBuffer, pointer, address);
  }

  /** float32 numbers that are made on the host before each run. */
  derive(dims: readonly number[], fill: (inputs: RunInputs, out: Float32Array) => void): Tensor {
    const data = new Float32Array(product(dims));
    this.derived.push({ data, fill: (inputs) => fill(inputs, data) });
    return this.over(data, dims);
  }

  /** Indices that are made on the host before each run. */
  deriveIndex(dims: readonly number[], fill: (inputs: RunInputs, out: Int32Array) => void): Tensor {
    const data = new Int32Array(product(dims));
    this.derived.push({ data, fill: (inputs) => fill(inputs, data) });
    return this.over(data, dims);
  }

  /** The same numbers without gaps. */
  dense(x: Tensor): Tensor {
    return isDense(x) ? x : this.made(this.call('ggml_cont', x.pointer), x.dims, x.type);
  }

  /**
   * The same with the strides of a tensor without gaps, also for axes of length 1: products take such an axis for a
   * transposed one.
   */
  #ordered(x: Tensor): Tensor {
    if (this.packed ? isPacked(x) : rowsFirst(x)) return x;
    if (!isDense(x)) return this.dense(x);
    return this.made(this.call('ggml_reshape_4d', x.pointer, ...reversed(x.dims)), x.dims, x.type);
  }

  /** The same numbers in float16, made once for all layers. */
  half(x: Tensor): Tensor {
    return this.once(`half of ${x.pointer}`, () =>
      this.made(this.call('ggml_cast', x.pointer, GGML_TYPES.f16), x.dims, 'f16'),
    );
  }

  /**
   * x [n, ..., k] as what 8 bits hold of it, and below that the rest: [2n, ..., k]. Products with blocks round both to
   * 8 bits, which changes the first no more, so the error of their sum is that of 15 bits.
   * @param block values that share a scale when they are rounded: 32 or 256.
   */
  terms(x: Tensor, block: number): Tensor {
    return this.once(`terms of ${x.pointer} in ${block}`, () => {
      const rows = this.dense(x);
      const held = block === 32 ? this.#inBytes(rows) : this.#inSteps(rows, block);
      return this.concat([held, this.made(this.call('ggml_sub', rows.pointer, held.pointer), x.dims)], 0);
    });
  }

  /** x rounded to 8 bits in blocks of 32, as ggml rounds it for products. */
  #inBytes(x: Tensor): Tensor {
    const bytes = this.call('ggml_cast', x.pointer, GGML_TYPES.q8_0);
    return this.made(this.call('ggml_cast', bytes, GGML_TYPES.f32), x.dims);
  }

  /**
   * The same in longer blocks, whose type ggml casts nothing from: multiples of 1/127 of the largest value of the
   * block.
   */
  #inSteps(x: Tensor, block: number): Tensor {
    const sizes = this.call('ggml_abs', x.pointer);
    const largest = this.call('ggml_pool_1d', sizes, POOL_MAX, block, block, 0);
    const count = product(x.dims) / block;
    const step = this.call('ggml_scale_bias', largest, 1 / 127, NEARLY_ZERO);
    const steps = this.call('ggml_reshape_4d', step, 1, count, 1, 1);
    const blocks = this.call('ggml_reshape_4d', x.pointer, block, count, 1, 1);
    const whole = this.call('ggml_round', this.call('ggml_div', blocks, steps));
    return this.reshape(this.made(this.call('ggml_mul', whole, steps), [count, block]), x.dims);
  }

  /** A copy, which may be changed in place. */
  copy(x: Tensor): Tensor {
    return this.made(this.call('ggml_cont', x.pointer), x.dims, x.type);
  }

  reshape(x: Tensor, dims: readonly number[]): Tensor {
    if (product(dims) !== product(x.dims)) throw new GraphError(`[${x.dims}] can't be seen as [${dims}]`);
    if (dims.length === x.dims.length && dims.every((length, i) => length === x.dims[i])) return x;
    const dense = this.dense(x);
    return this.made(this.call('ggml_reshape_4d', dense.pointer, ...reversed(dims)), dims, x.type);
  }

  /** Axes in another order: axis i of the result is axis perm[i] of x. */
  transpose(x: Tensor, perm: readonly number[]): Tensor {
    const n = perm.length;
    const to = [0, 1, 2, 3];
    perm.forEach((source, target) => {
      to[n - 1 - source] = n - 1 - target;
    });
    const pointer = this.call('ggml_permute', x.pointer, to[0], to[1], to[2], to[3]);
    const strides = [...x.strides];
    to.forEach((target, source) => {
      strides[target] = x.strides[source];
    });
    return { pointer, type: x.type, dims: perm.map((source) => x.dims[source]), strides };
  }

  /** `length` indices of an axis, from `start` on. */
  slice(x: Tensor, axis: number, start: number, length: number): Tensor {
    if (start === 0 && length === x.dims[axis]) return x;
    const dims = x.dims.map((old, i) => (i === axis ? length : old));
    const at = x.dims.length - 1 - axis;
    const offset = at === 0 ? rowBytes(x.type, start) : start * x.strides[at];
    return this.view(x, dims, x.strides, offset);
  }

  /** Numbers of x under another shape and other strides. */
  view(x: Tensor, dims: readonly number[], strides: readonly number[], offset: number): Tensor {
    const [, s1, s2, s3] = strides;
    const pointer = this.call('ggml_view_4d', x.pointer, ...reversed(dims), s1, s2, s3, offset);
    return { pointer, type: x.type, dims, strides };
  }

  /** x as often as `dims` wants it. */
  repeat(x: Tensor, dims: readonly number[]): Tensor {
    const own = reversed(x.dims);
    if (reversed(dims).every((length, axis) => length === own[axis])) return { ...x, dims };
    return this.made(this.call('ggml_repeat_4d', x.pointer, ...reversed(dims)), dims);
  }

  /** A tensor that is made the first time that it is asked for. */
  once(key: string, make: () => Tensor): Tensor {
    const kept = this.#shared.get(key) ?? make();
    this.#shared.set(key, kept);
    return kept;
  }

  concat(parts: readonly Tensor[], axis: number): Tensor {
    const filled = parts.filter((part) => product(part.dims) > 0);
    const joined = (a: readonly number[], b: readonly number[]) => a.map((n, i) => (i === axis ? n + b[i] : n));
    if (filled.length === 0 && parts.length > 1)
      return this.over(new Float32Array(0), parts.map(({ dims }) => dims).reduce(joined));
    if (this.#isSetInPlace(filled))
      return this.#setInPlace(filled, filled.map(({ dims }) => dims).reduce(joined), axis);
    return (filled.length === 0 ? parts : filled).reduce((a, b) => {
      const dims = joined(a.dims, b.dims);
      return this.made(this.call('ggml_concat', a.pointer, b.pointer, dims.length - 1 - axis), dims, a.type);
    });
  }

  /** Whether many parts of one shape are to be joined, as the groups of a layer whose slots differ. */
  #isSetInPlace(parts: readonly Tensor[]): boolean {
    if (this.packed || parts.length < 3) return false;
    return parts.every(
      (part) => part.type === 'f32' && isDense(part) && part.dims.every((n, i) => n === parts[0].dims[i]),
    );
  }

  /**
   * Each part is copied once, row by row: ggml joins two at a time and number by number. Parts but the first go over
   * copies of it.
   */
  #setInPlace(parts: readonly Tensor[], dims: readonly number[], axis: number): Tensor {
    const all = this.repeat(parts[0], dims);
    const [, s1, s2, s3] = all.strides;
    const step = all.strides[dims.length - 1 - axis] * parts[0].dims[axis];
    const set = (to: Pointer, part: Tensor, i: number) =>
      this.call('ggml_set_inplace', to, part.pointer, s1, s2, s3, (i + 1) * step);
    return this.made(parts.slice(1).reduce(set, all.pointer), dims);
  }

  /** weights [..., n, k] · x [..., m, k] → [..., m, n]; outer axes of weights are repeated for those of x. */
  multiply(weights: Tensor, x: Tensor): Tensor {
    const rows = this.#ordered(x);
    const left = this.#ordered(weights);
    const dims = [...x.dims.slice(0, -1), weights.dims.at(-2) ?? 1];
    return this.made(this.call('ggml_mul_mat', left.pointer, rows.pointer), dims);
  }

  /**
   * How the first axis of a result is cut, so that no operator has much more than {@link MOST_WORK} to do: ggml looks
   * at aborts between two operators only. Not on devices.
   * @param work of one index, in multiplications and additions. @param least pieces are multiples of so many indices.
   */
  pieces(length: number, work: number, least = 64): number[] {
    const count = this.packed ? 1 : Math.ceil((length * work) / MOST_WORK);
    const step = Math.ceil(length / count / least) * least;
    if (step >= length) return [length];
    return Array.from({ length: Math.ceil(length / step) }, (_, i) => Math.min(step, length - i * step));
  }

  /**
   * A result whose first axis is computed by an operator for each piece. Each writes to its part of one tensor, so
   * nothing is copied.
   * @param make gives a tensor without gaps of its own for `length` indices from `start` on.
   */
  inPieces(
    dims: readonly number[],
    lengths: readonly number[],
    make: (start: number, length: number) => Pointer,
  ): Tensor {
    const { context } = this;
    const { pointer: whole, strides } = this.made(this.call('ggml_new_tensor_4d', 0, ...reversed(dims)), dims);
    const result = this.call('ggml_reshape_4d', whole, ...reversed(dims));
    // An operator that does nothing: without one, ggml would keep the memory from the beginning of the graph.
    context.copyOperator(whole, result);
    const bytes = strides[dims.length - 1];
    let [start, last] = [0, whole];
    for (const length of lengths) {
      const piece = make(start, length);
      context.setView(piece, whole, start * bytes);
      context.setSource(piece, MOST_SOURCES - 1, last);
      last = piece;
      start += length;
    }
    context.setSource(result, 0, last);
    return this.made(result, dims);
  }

  /**
   * Σ over the second axis from the end: a [..., k, m], b [..., k, n] → [..., n, m]. `a` has no more outer axes than
   * `b`.
   */
  outer(a: Tensor, b: Tensor): Tensor {
    const left = this.#ordered(a);
    const dims = [...b.dims.slice(0, -2), b.dims.at(-1)!, a.dims.at(-1)!];
    return this.made(this.call('ggml_out_prod', left.pointer, b.pointer), dims);
  }

  /**
   * Rows of a table [rows, ...] at `index`, which has up to three axes → [...index, ...]. Where none are wanted,
   * nothing is computed of the table.
   */
  rows(table: Tensor, index: Tensor): Tensor {
    const width = product(table.dims.slice(1));
    const count = product(index.dims);
    const dims = [...index.dims, ...table.dims.slice(1)];
    if (count === 0 && table.type === 'f32') return this.over(new Float32Array(0), dims);
    if (count === 1 && table.dims[0] === 1 && table.type === 'f32') return this.reshape(table, dims);
    const flat = this.reshape(table, [table.dims[0], width]);
    const pointer = this.call('ggml_get_rows', flat.pointer, this.reshape(index, [count]).pointer);
    return this.reshape(this.made(pointer, [count, width]), dims);
  }

  /**
   * The bytes of a tensor without gaps as numbers of another type, in the same memory. Not on devices, whose backends
   * keep notes of a tensor's type.
   */
  readAs(x: Tensor, type: GgmlType, dims: readonly number[]): Tensor {
    const pointer = this.call('ggml_view_1d', x.pointer, 1, 0);
    const seen = this.made(pointer, dims, type);
    const [, ...outer] = seen.strides;
    this.context.setLayout(pointer, GGML_TYPES[type], reversed(dims), [rowBytes(type, blockLength(type)), ...outer]);
    return seen;
  }

  /** The sum over the last axis, which stays with length 1. */
  sumLast(x: Tensor): Tensor {
    const dims = x.dims.map((length, i) => (i === x.dims.length - 1 ? 1 : length));
    return this.made(this.call('ggml_sum_rows', this.dense(x).pointer), dims);
  }
}

/** Whether the numbers of a row lie behind each other. */
function rowsFirst({ type, strides }: Tensor): boolean {
  return strides[0] === rowBytes(type, 1) && strides[1] >= strides[0];
}

/** Whether there are no gaps at all, and one row is as long as a row, too. */
function isPacked(x: Tensor): boolean {
  return isDense(x) && x.strides[0] === rowBytes(x.type, 1) && x.strides[1] === rowBytes(x.type, x.dims.at(-1) ?? 1);
}
