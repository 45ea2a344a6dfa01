/**
 * @file The state of one lowering: from records of operators to ONNX nodes.
 */
import type { OpGraph } from '../../../ops/graph.ts';
import type { Dim } from '../../../ops/shapes.ts';
import type { OpName, OpNode, Value as OpValue } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import type { Param } from '../../../weights/types.ts';
import { GraphBuilder, type Value } from '../builder.ts';
import { index, less, reshape, shapeOf } from '../ops.ts';

/** Lowers one operator. @returns a value for each of its outputs. */
export type Lower<K extends OpName> = (ctx: LowerContext, node: OpNode<K>) => readonly Value[];

export type LowerTable = { readonly [K in OpName]?: Lower<K> };

export class LowerContext {
  readonly g: GraphBuilder;
  readonly graph: OpGraph;
  /** Axes of length 1 that an input has in ONNX's graph and not in the trace, by the input's name. */
  readonly addedAxes = new Map<string, readonly number[]>();
  /** Inputs that hold lengths of others: sums of their last axes. */
  readonly lengths = new Map<string, readonly (readonly string[])[]>();
  readonly #values = new Map<string, Value>();
  readonly #shared = new Map<string, unknown>();

  constructor(graph: OpGraph) {
    this.graph = graph;
    this.g = new GraphBuilder({ hasFusedProducts: !this.isStatic });
  }

  /** See {@link GraphTarget.staticGraph}. */
  get isStatic(): boolean {
    return this.graph.target.staticGraph ?? false;
  }

  /** The ONNX value of a value of the trace. Inputs and constants are declared at their first use. */
  value(of: OpValue): Value {
    const known = this.#values.get(of.name);
    if (known) return known;
    const constant = this.graph.constants.get(of.name);
    if (constant) return this.bind(of, this.g.constant(constant.data, constant.value.shape as number[]));
    const param = this.graph.params.get(of.name);
    if (param) {
      if (param.format !== 'float32')
        throw new GraphError(`${of.name} is quantized: only linear and embed may read it`);
      return this.bind(of, this.g.external(of.name, 'float32', param.shape));
    }
    return this.input(of, []);
  }

  /** An input with further axes of length 1. @param axes their indices in the result. */
  input(of: OpValue, axes: readonly number[]): Value {
    const known = this.#values.get(of.name);
    if (known) return known;
    if (!this.graph.inputs.includes(of)) throw new GraphError(`${of.name} is read before it is made`);
    const shape: Dim[] = [...of.shape];
    for (const axis of axes) shape.splice(axis, 0, 1);
    this.addedAxes.set(of.name, axes);
    return this.bind(of, this.g.input(of.name, of.dtype, shape));
  }

  optional(of: OpValue | null | undefined): Value | null {
    return of ? this.value(of) : null;
  }

  bind(of: OpValue, value: Value): Value {
    this.#values.set(of.name, value);
    return value;
  }

  param(of: OpValue): Param {
    const param = this.graph.params.get(of.name);
    if (!param) throw new GraphError(`${of.name} is no parameter`);
    return param;
  }

  /** Made once for the whole graph. */
  shared<T>(key: string, make: () => T): T {
    if (!this.#shared.has(key)) this.#shared.set(key, make());
    return this.#shared.get(key) as T;
  }

  /** `positions` of a step, [B, 1, 1, 1, T]. */
  positions(of: OpValue): Value {
    return this.input(of, [1, 2, 3]);
  }

  /**
   * An input that the session fills when it runs, int64 [n].
   * @param of for each number, the inputs whose last axes it is the sum of.
   */
  lengthsOf(name: string, of: readonly (readonly OpValue[])[]): Value {
    return this.shared(`lengths.${name}`, () => {
      const value = this.g.input(`lengths.${name}`, 'int64', [of.length]);
      this.lengths.set(
        value.name,
        of.map((inputs) => inputs.map((input) => input.name)),
      );
      return value;
    });
  }

  /** T, int64 [1]. */
  chunkLength(positions: Value): Value {
    return this.shared('chunkLength', () => shapeOf(this.g, positions, 4, 5));
  }

  /** Whether the chunk has at most so many tokens, a bool without axes: some things are done otherwise then. */
  isAtMost(positions: Value, tokens: number): Value {
    return this.shared(`atMost.${tokens}`, () => {
      const length = reshape(this.g, this.chunkLength(positions), [], []);
      return less(this.g, length, index(this.g, Math.floor(tokens) + 1));
    });
  }
}
