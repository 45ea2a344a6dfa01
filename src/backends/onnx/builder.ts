/**
 * @file A small typed builder of ONNX graphs: values with a dtype and a shape, nodes, constants, external weights.
 *
 * The shapes hold numbers where a length is known when the graph is built and names (`'B'`, `'T'`) where it is known
 * only when the graph is run. What a field number means: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
import { ScopedNames } from '../../ops/names.ts';
import type { Dim } from '../../ops/shapes.ts';
import { GraphError } from '../../util/errors.ts';
import { ProtoWriter } from './proto.ts';

/** Element types that graphs are built of, with their numbers in ONNX's TensorProto.DataType. */
export const ONNX_DTYPES = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float16: 10 } as const;
export type Dtype = keyof typeof ONNX_DTYPES;

/** A tensor of the graph. */
export interface Value {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly Dim[];
}

export type Attribute =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly graph: ProtoWriter };
export type Attributes = Readonly<Record<string, Attribute>>;
/** What a node's output is: the caller infers it, the builder names it. */
export type ValueType = Pick<Value, 'dtype' | 'shape'>;

/** Where the bytes of an external weight are. */
export interface ExternalData {
  /** File name, relative to the folder that the runtime is told. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** ONNX's default operator set, and that of ONNX Runtime's own operators. */
const OPSET = 23;
const IR_VERSION = 10;
export const MICROSOFT = 'com.microsoft';

type ConstantData = Float32Array | BigInt64Array | Uint8Array | Int32Array;
const CONSTANT_DTYPE = (data: ConstantData): Dtype =>
  data instanceof Float32Array
    ? 'float32'
    : data instanceof BigInt64Array
      ? 'int64'
      : data instanceof Int32Array
        ? 'int32'
        : 'uint8';

/** Builds one graph. Names of values are made from the scope, so that a profile reads like the model. */
export class GraphBuilder {
  readonly inputs: Value[] = [];
  readonly outputs: Value[] = [];
  /** Weights that lie outside of the graph, in the order of their first use. */
  readonly externals = new Map<string, Value>();
  #nodes: ProtoWriter[] = [];
  /** Names of what they make. */
  #made = new Set<string>();
  /** Which node makes a value, where that is all it makes, and how often a value is read. */
  readonly #maker = new Map<string, ProtoWriter>();
  readonly #reads = new Map<string, number>();
  /** Names of the outputs, and of the values that they are. */
  readonly #named = new Map<string, string>();
  #nodeCount = 0;
  /** Whether products take a transposed matrix as it is. */
  readonly hasFusedProducts: boolean;
  #constants = new Map<string, { value: Value; data: ConstantData }>();
  readonly #names = new ScopedNames();

  constructor({ hasFusedProducts = true }: { readonly hasFusedProducts?: boolean } = {}) {
    this.hasFusedProducts = hasFusedProducts;
  }

  /** Number of nodes so far, those of all branches included. */
  get nodeCount(): number {
    return this.#nodeCount;
  }

  /** Runs `body` with `name` put before the names of all that it makes. */
  scope<T>(name: string, body: () => T): T {
    return this.#names.within(name, body);
  }

  input(name: string, dtype: Dtype, shape: readonly Dim[]): Value {
    const value = { name: this.#names.claim(name), dtype, shape };
    this.inputs.push(value);
    return value;
  }

  /**
   * A choice that is made when the graph runs: `yes` where `condition` (a bool without axes) holds, else `no`. Only the
   * nodes of the one that was chosen run. Both may read any value made before, and give values of the same types.
   */
  branch(condition: Value, yes: () => readonly Value[], no: () => readonly Value[]): Value[] {
    const [then, thenOutputs] = this.#subgraph(yes);
    const [otherwise, otherOutputs] = this.#subgraph(no);
    if (thenOutputs.length !== otherOutputs.length)
      throw new GraphError('the two branches give different numbers of values');
    const attributes = { then_branch: { graph: then }, else_branch: { graph: otherwise } };
    const types = thenOutputs.map(({ dtype, shape }) => ({ dtype, shape }));
    return this.node('If', [condition], types, { attributes });
  }

  /**
   * Goes along an axis of `sequences`, step by step: `body` gets the state and each sequence's element, and gives the
   * next state, which is also the step's result.
   * @param axis of the sequences, and of the result.
   * @returns the states after each step.
   */
  scan(
    state: Value,
    sequences: readonly Value[],
    axis: number,
    body: (state: Value, elements: readonly Value[]) => Value,
  ): Value {
    const steps = sequences[0].shape[axis];
    const without = (shape: readonly Dim[]) => shape.filter((_, i) => i !== axis);
    const inner = [state, ...sequences.map(({ dtype, shape }) => ({ dtype, shape: without(shape) }))].map(
      ({ dtype, shape }, i) => ({
        name: this.#names.claim(`${this.#names.scope}scan.${this.#nodeCount}.${i}`),
        dtype,
        shape,
      }),
    );
    const [graph] = this.#subgraph(() => {
      const next = body(inner[0], inner.slice(1));
      return [next, next];
    }, inner);
    const shape = [...state.shape.slice(0, axis), steps, ...state.shape.slice(axis)];
    const axes = sequences.map(() => axis);
    const attributes = {
      body: { graph },
      num_scan_inputs: sequences.length,
      scan_input_axes: axes,
      scan_output_axes: [axis],
    };
    return this.node('Scan', [state, ...sequences], [state, { dtype: state.dtype, shape }], { attributes })[1];
  }

  #subgraph(body: () => readonly Value[], inputs: readonly Value[] = []): [ProtoWriter, readonly Value[]] {
    const outer = this.#nodes;
    const outerMade = this.#made;
    this.#nodes = [];
    this.#made = new Set();
    try {
      // What was made elsewhere, or is wanted twice, needs a name of its own here; for the rest that would be a copy
      // too many.
      const outputs = body().map((value) =>
        this.#made.delete(value.name) ? value : this.node('Identity', [value], [value])[0],
      );
      const graph = new ProtoWriter();
      for (const node of this.#nodes) graph.message(1, node);
      graph.string(2, `${this.#names.scope}branch`);
      for (const value of inputs) graph.message(11, valueInfo(value));
      for (const value of outputs) graph.message(12, valueInfo(value));
      return [graph, outputs];
    } finally {
      this.#nodes = outer;
      this.#made = outerMade;
    }
  }

  /** Makes `value` an output of the graph under its own name. */
  output(value: Value, name: string): void {
    const [out] = this.node('Identity', [value], [value], { outputNames: [name] });
    this.outputs.push(out);
    this.#named.set(out.name, value.name);
  }

  /** A small constant inside the graph; equal constants are one. */
  constant(data: ConstantData, shape: readonly number[]): Value {
    const dtype = CONSTANT_DTYPE(data);
    const key = `${dtype}[${shape}]${data}`;
    const known = this.#constants.get(key);
    if (known) return known.value;
    const value = { name: this.#names.claim(`const.${this.#constants.size}`), dtype, shape };
    this.#constants.set(key, { value, data });
    return value;
  }

  ints(...values: number[]): Value {
    return this.constant(BigInt64Array.from(values, BigInt), [values.length]);
  }

  scalar(value: number): Value {
    return this.constant(Float32Array.of(value), []);
  }

  /** A weight that lies outside of the graph; asking twice gives the same value. */
  external(name: string, dtype: Dtype, shape: readonly number[]): Value {
    const known = this.externals.get(name);
    if (known) {
      if (known.dtype !== dtype || `${known.shape}` !== `${shape}`)
        throw new GraphError(`weight ${name} is used as ${known.dtype}[${known.shape}] and as ${dtype}[${shape}]`);
      return known;
    }
    const value = { name: this.#names.claim(name), dtype, shape };
    this.externals.set(name, value);
    return value;
  }

  /**
   * Adds a node. `null` stands for an optional input or output that is left out.
   * @returns one value per entry of `outputs` that is not null, in order.
   */
  node(
    op: string,
    inputs: readonly (Value | null)[],
    outputs: readonly (ValueType | null)[],
    options: { attributes?: Attributes; domain?: string; outputNames?: readonly string[] } = {},
  ): Value[] {
    const made: Value[] = [];
    const node = new ProtoWriter();
    for (const value of inputs) {
      node.string(1, value?.name ?? '');
      if (value) this.#reads.set(value.name, (this.#reads.get(value.name) ?? 0) + 1);
    }
    outputs.forEach((type, i) => {
      if (!type) {
        node.string(2, '');
        return;
      }
      const name = options.outputNames
        ? this.#names.claim(options.outputNames[i])
        : this.#names.claim(`${this.#names.scope}${op}.${this.#nodeCount}${outputs.length > 1 ? `.${i}` : ''}`);
      made.push({ name, dtype: type.dtype, shape: type.shape });
      this.#made.add(name);
      if (outputs.length === 1) this.#maker.set(name, node);
      node.string(2, name);
    });
    node.string(3, made[0].name).string(4, op);
    for (const [name, value] of Object.entries(options.attributes ?? {})) node.message(5, attribute(name, value));
    if (options.domain) node.string(7, options.domain);
    this.#nodes.push(node);
    this.#nodeCount++;
    return made;
  }

  /**
   * The model as bytes of an ONNX ModelProto.
   * @param locate where each external weight's bytes are.
   */
  serialize(locate: (name: string) => ExternalData): Uint8Array {
    const graph = new ProtoWriter();
    for (const node of this.#inOrder()) graph.message(1, node);
    graph.string(2, 'keyhold');
    for (const { value, data } of this.#constants.values())
      graph.message(5, tensor(value).bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)));
    for (const value of this.externals.values()) {
      const { location, offset, length } = locate(value.name);
      graph.message(
        5,
        tensor(value)
          .message(13, entry('location', location))
          .message(13, entry('offset', String(offset)))
          .message(13, entry('length', String(length)))
          .int(14, 1),
      );
    }
    for (const value of this.inputs) graph.message(11, valueInfo(value));
    for (const value of this.outputs) graph.message(12, valueInfo(value));
    return new ProtoWriter()
      .int(1, IR_VERSION)
      .string(2, 'keyhold')
      .message(7, graph)
      .message(8, new ProtoWriter().string(1, '').int(2, OPSET))
      .message(8, new ProtoWriter().string(1, MICROSOFT).int(2, 1))
      .finish();
  }

  /**
   * The nodes, those at the end of which only an output hangs put last, the first of them at the very end. ONNX Runtime
   * goes through a graph backwards from such ends, the last one first: what it needs runs first. So an output of an
   * early layer is computed when its layer is, and not when all others are done, up to which what it is made of would
   * take memory.
   */
  #inOrder(): readonly ProtoWriter[] {
    const ends = [...this.#named]
      .filter(([, value]) => this.#maker.has(value) && this.#reads.get(value) === 1)
      .map(([name, value]) => [this.#maker.get(value)!, this.#maker.get(name)!]);
    const order = new Map(this.#nodes.map((node, i) => [node, i]));
    ends.sort(([a], [b]) => order.get(b)! - order.get(a)!);
    const last = new Set(ends.flat());
    return [...this.#nodes.filter((node) => !last.has(node)), ...last];
  }
}

/** The head of a TensorProto; its data is for the caller to add. */
function tensor(value: Value): ProtoWriter {
  const out = new ProtoWriter();
  for (const dim of value.shape) out.int(1, dim as number);
  return out.int(2, ONNX_DTYPES[value.dtype]).string(8, value.name);
}

function entry(key: string, value: string): ProtoWriter {
  return new ProtoWriter().string(1, key).string(2, value);
}

function valueInfo(value: Value): ProtoWriter {
  const shape = new ProtoWriter();
  for (const dim of value.shape)
    shape.message(1, typeof dim === 'number' ? new ProtoWriter().int(1, dim) : new ProtoWriter().string(2, dim));
  const type = new ProtoWriter().message(1, new ProtoWriter().int(1, ONNX_DTYPES[value.dtype]).message(2, shape));
  return new ProtoWriter().string(1, value.name).message(2, type);
}

function attribute(name: string, value: Attribute): ProtoWriter {
  const out = new ProtoWriter().string(1, name);
  if (typeof value === 'string') return out.bytes(4, new TextEncoder().encode(value)).int(20, 3);
  if (typeof value === 'number') return out.int(3, value).int(20, 2);
  if ('graph' in value) return out.message(6, value.graph).int(20, 5);
  if ('float' in value) return out.float(2, value.float).int(20, 1);
  for (const item of value) out.int(8, item);
  return out.int(20, 7);
}
