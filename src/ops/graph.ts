/**
 * @file A traced model: records of operators, in the order in which they were added.
 */
import { GraphError } from '../util/errors.ts';
import type { Param } from '../weights/types.ts';
import { ScopedNames } from './names.ts';
import type { Dim } from './shapes.ts';
import type { GraphTarget } from './target.ts';
import type { Dtype, OpAttributes, OpName, OpNode, Value } from './types.ts';

/** What a node's output is; the graph names it. */
export type ValueType = Pick<Value, 'dtype' | 'shape'>;

export interface Constant {
  readonly value: Value;
  readonly data: Float32Array | BigInt64Array;
}

/** One traced graph. Names of values are made from the scope, so that a profile reads like the model. */
export class OpGraph {
  /** What the engine chose for this trace. */
  readonly target: GraphTarget;
  readonly nodes: OpNode[] = [];
  readonly inputs: Value[] = [];
  /** By name: what the value is inside of the graph. */
  readonly outputs = new Map<string, Value>();
  /** All parameters, by name, in the order of their first use. */
  readonly params = new Map<string, Param>();
  /** By name of the value. */
  readonly constants = new Map<string, Constant>();
  readonly #paramValues = new Map<string, Value>();
  readonly #sharedConstants = new Map<string, Value>();
  readonly #names = new ScopedNames();

  constructor(target: GraphTarget) {
    this.target = target;
  }

  /** Runs `body` with `name` put before the names of all that it adds. */
  scope<T>(name: string, body: () => T): T {
    return this.#names.within(name, body);
  }

  /** What each step gives. @throws GraphError for a name that is taken. */
  input(name: string, dtype: Dtype, shape: readonly Dim[]): Value {
    if (shape.length > 4) throw new GraphError(`input ${name} has ${shape.length} axes; there are 4 at most`);
    const value = { name: this.#names.claim(name), dtype, shape };
    this.inputs.push(value);
    return value;
  }

  /**
   * A parameter. The first use decides how it is stored: a tied head takes the embedding as it is.
   * @throws GraphError for a second use with another shape.
   */
  param(param: Param): Value {
    const known = this.params.get(param.name);
    if (known && `${known.shape}` !== `${param.shape}`)
      throw new GraphError(`parameter ${param.name} is used as [${known.shape}] and as [${param.shape}]`);
    if (known?.role === 'embedding' && param.role === 'linear') this.params.set(param.name, { ...known, isHead: true });
    if (!known) {
      this.params.set(param.name, param);
      this.#paramValues.set(param.name, { name: this.#names.claim(param.name), dtype: 'float32', shape: param.shape });
    }
    return this.#paramValues.get(param.name)!;
  }

  /** A constant that many operators read: made at its first use. @param key says what it is. */
  sharedConstant(key: string, make: () => { data: Float32Array; shape: readonly number[] }): Value {
    let value = this.#sharedConstants.get(key);
    if (!value) {
      const { data, shape } = make();
      value = this.constant(data, shape);
      this.#sharedConstants.set(key, value);
    }
    return value;
  }

  /** A small constant. */
  constant(data: Float32Array | BigInt64Array, shape: readonly number[]): Value {
    const dtype = data instanceof Float32Array ? 'float32' : 'int64';
    const value: Value = { name: this.#names.claim(`const.${this.constants.size}`), dtype, shape };
    this.constants.set(value.name, { value, data });
    return value;
  }

  /** Adds an operator. @returns its outputs. */
  add<K extends OpName>(
    op: K,
    inputs: readonly (Value | null)[],
    attributes: OpAttributes[K],
    types: readonly ValueType[],
  ): Value[] {
    const base = `${this.#names.scope}${op}.${this.nodes.length}`;
    const outputs = types.map(({ dtype, shape }, i) => {
      if (shape.length > 4) throw new GraphError(`${base} has ${shape.length} axes; there are 4 at most`);
      return { name: this.#names.claim(types.length > 1 ? `${base}.${i}` : base), dtype, shape };
    });
    this.nodes.push({ op, inputs, attributes, outputs, scope: this.#names.scope } as unknown as OpNode);
    return outputs;
  }

  /** The same inputs, parameters and results with other operators between them. */
  withNodes(nodes: readonly OpNode[]): OpGraph {
    const graph = new OpGraph(this.target);
    graph.nodes.push(...nodes);
    graph.inputs.push(...this.inputs);
    for (const [name, value] of this.outputs) graph.outputs.set(name, value);
    for (const [name, param] of this.params) graph.params.set(name, param);
    for (const [name, constant] of this.constants) graph.constants.set(name, constant);
    return graph;
  }

  /** The same without some of the results. */
  withoutOutputs(names: ReadonlySet<string>): OpGraph {
    const graph = this.withNodes(this.nodes);
    for (const name of names) graph.outputs.delete(name);
    return graph;
  }

  /** Makes `value` a result of the step. */
  output(value: Value, name: string): void {
    if (this.outputs.has(name)) throw new GraphError(`two outputs are named ${name}`);
    this.outputs.set(name, value);
  }
}
