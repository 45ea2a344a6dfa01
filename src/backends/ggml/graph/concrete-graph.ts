/**
 * @file One traced model as a ggml graph for concrete lengths: made once, run for every step of these lengths.
 */
import type { OpGraph } from '../../../ops/graph.ts';
import type { OpName, OpNode, Value } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import { product } from '../../../util/numbers.ts';
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import type { ComputeGraph, CpuBackend } from '../devices/cpu-backend.ts';
import { GraphMaker, type RunInputs } from '../lower/graph-maker.ts';
import type { Lower, Scope } from '../lower/lowering.ts';
import { gathered, graphDims, type SlotFormat, slotFormats, slotLeaf, trimmed } from '../lower/slot-blocks.ts';
import type { SlotUse } from '../lower/slot-use.ts';
import { LOWERINGS } from '../lower/table.ts';
import { allocateGraph, type GraphMemory } from '../memory/graph-memory.ts';
import type { Tensor } from '../memory/tensor.ts';
import type { ResultArrays } from './result-arrays.ts';

/** A parameter as a graph uses it. */
export type FindWeight = (name: string, as: 'plain' | 'matrix' | 'stack', experts?: number) => Tensor;

export interface RunOutput {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

/** An input that is read where the caller has it. */
interface BoundInput {
  readonly name: string;
  readonly pointer: Pointer;
  address: bigint;
  /** Tensors that are parts of it, which move with it. */
  readonly views: { readonly pointer: Pointer; readonly offset: bigint }[];
}

interface Output {
  readonly name: string;
  readonly parts: readonly Tensor[];
  readonly dims: readonly number[];
  readonly length: number;
}

/**
 * Outputs of up to so many numbers are read into one array: making an array of its own took 1.8 µs for each of 60 keys
 * and values. Sums of attention weights on 1,024 slots are longer: their arrays are used again, where 0.4 MB a token
 * made V8 collect garbage.
 */
const SMALL_OUTPUT = 1024;

/** Tensors that a record becomes, on average, with a reserve; where it is not enough, twice as many are tried. */
const TENSORS_PER_NODE = 10;
/**
 * What graphs of other lengths may have more. Their descriptions take 0.4 KB each, of memory that is kept: 0.8 MB a
 * graph instead of 2.4.
 */
const RESERVE = 1.25;
const LEAST_RESERVE = 64;
const MOST_TENSORS = 400_000;

/** What inputs are given as … */
const ARRAYS = {
  float32: Float32Array,
  float16: Uint16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
} as const;
/** … and read as where they are. */
const LEAVES = { float32: 'f32', float16: 'f16', int32: 'i32' } as const;

/** What a {@link ConcreteGraph} is made of. */
export interface GraphSource {
  readonly ggml: Ggml;
  readonly backend: CpuBackend;
  readonly graph: OpGraph;
  readonly weights: FindWeight;
  /** The inputs of a run, whose shapes all runs of the graph have. */
  readonly inputs: RunInputs;
  readonly slots: SlotUse;
}

export class ConcreteGraph implements ComputeGraph {
  lastTook = Infinity;
  kind: object | undefined;
  readonly #ggml: Ggml;
  readonly #maker: GraphMaker;
  readonly #memory: GraphMemory;
  readonly #inputs: BoundInput[] = [];
  /** An output may be several tensors behind each other. */
  readonly #outputs: Output[] = [];
  /** Numbers of all small outputs. */
  readonly #sharedLength: number;
  /** Of the memory that results of operators lie in, and of what the host makes for a run, such as masks. */
  readonly bytes: number;
  /** What of it no other graph uses. */
  readonly ownBytes: number;
  readonly scheduler: Pointer;

  /**
   * @param expected tensors of a graph of other lengths. @default ten for each node
   * @throws GraphError for inputs that do not fit the graph; EngineError where there is no memory.
   */
  static make(source: GraphSource, expected?: number): ConcreteGraph {
    const { ggml, backend, graph, inputs } = source;
    checkInputs(graph, inputs);
    const first =
      expected === undefined
        ? 1024 + TENSORS_PER_NODE * graph.nodes.length
        : Math.ceil(RESERVE * expected) + LEAST_RESERVE;
    for (let tensors = first; ; tensors *= 2) {
      const maker = new GraphMaker(ggml, tensors, backend.devicePointer !== null);
      try {
        return new ConcreteGraph(source, maker);
      } catch (error) {
        maker.context.dispose();
        if (maker.count <= tensors || tensors > MOST_TENSORS) throw error;
      }
    }
  }

  private constructor(source: GraphSource, maker: GraphMaker) {
    const { ggml, backend } = source;
    this.#ggml = ggml;
    this.#maker = maker;
    this.#lower(source);
    this.#sharedLength = this.#outputs.reduce((sum, { length }) => sum + (length <= SMALL_OUTPUT ? length : 0), 0);
    this.#memory = allocateGraph(ggml, backend, maker.graph, maker.context);
    const kept = maker.kept.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.scheduler = this.#memory.scheduler;
    this.bytes = kept + this.#memory.bytes;
    this.ownBytes = kept + this.#memory.ownBytes;
    this.#findViews();
  }

  /** Puts the inputs in place; {@link read} gives the results after the graph has run. */
  bind(inputs: RunInputs): void {
    this.#memory.prepare();
    for (const { fill } of this.#maker.derived) fill(inputs);
    for (const bound of this.#inputs) {
      const address = this.#ggml.addressOf(inputs[bound.name].data as ArrayBufferView);
      if (address === bound.address) continue;
      bound.address = address;
      this.#maker.context.setData(bound.pointer, address);
      for (const { pointer, offset } of bound.views) this.#maker.context.setData(pointer, address + offset);
    }
  }

  get graph(): Pointer {
    return this.#maker.graph;
  }

  /** How many tensors it has. */
  get tensors(): number {
    return this.#maker.count;
  }

  /** @param arrays what results of more than a few numbers are read into. */
  read(arrays: ResultArrays): Record<string, RunOutput> {
    const results: Record<string, RunOutput> = {};
    const shared = new Float32Array(this.#sharedLength);
    let used = 0;
    for (const { name, parts, dims, length } of this.#outputs) {
      const isSmall = length <= SMALL_OUTPUT;
      const data = isSmall ? shared.subarray(used, used + length) : arrays.take(length);
      if (isSmall) used += length;
      if (parts.length === 1) this.#readTensor(parts[0], data);
      else {
        let start = 0;
        for (const part of parts) {
          const end = start + product(part.dims);
          this.#readTensor(part, data.subarray(start, end));
          start = end;
        }
      }
      results[name] = { data, dims };
    }
    return results;
  }

  #readTensor({ pointer }: Tensor, out: Float32Array): void {
    if (out.length > 0) this.#ggml.ggml_backend_tensor_get(pointer, out, 0, out.byteLength);
  }

  dispose(): void {
    this.#memory.dispose();
    this.#maker.context.dispose();
  }

  #lower({ graph, weights, inputs, slots: slotUse }: GraphSource): void {
    const g = this.#maker;
    const made = new Map<string, Tensor>();
    const fused = fusedNodes(graph);
    const shared = new Map<string, unknown>();
    const slots = slotFormats(graph);
    const gathers = gatherNodes(graph);
    const dimsOf = ({ name }: Value): readonly number[] => {
      const gather = gathers.get(name);
      if (gather) return [...dimsOf(gather.inputs[1]!), gather.attributes.size];
      return made.get(name)?.dims ?? inputs[name].dims;
    };
    const get = (value: Value): Tensor => {
      let tensor = made.get(value.name);
      if (!tensor) {
        tensor = this.#source(graph, weights, inputs, value, slots.get(value.name));
        made.set(value.name, tensor);
      }
      return tensor;
    };
    const slotsOf = ({ inputs: [stored, index], attributes, outputs }: OpNode<'gatherSlots'>, asStored: boolean) =>
      scope.shared(`slots ${outputs[0].name} ${asStored}`, () =>
        gathered(g, get(stored!), get(index!), attributes.size, asStored),
      );
    const scope: Scope = {
      g,
      get,
      optional: (value) => (value ? get(value) : null),
      matrix: (value, experts) =>
        graph.params.has(value.name) ? weights(value.name, experts ? 'stack' : 'matrix', experts) : get(value),
      slots: (value, asStored = false) => {
        const gather = gathers.get(value.name);
        if (gather) return slotsOf(gather, asStored);
        const format = slots.get(value.name);
        return format ? trimmed(g, get(value), format) : get(value);
      },
      slotUse,
      dimsOf,
      shared: <T>(key: string, make: () => T): T => {
        if (!shared.has(key)) shared.set(key, make());
        return shared.get(key) as T;
      },
      fusedInto: (value) => (value ? (fused.get(value.name) ?? null) : null),
    };
    const wanted = new Map<string, string[]>();
    for (const [name, value] of graph.outputs) wanted.set(value.name, [...(wanted.get(value.name) ?? []), name]);
    const isInput = new Set(graph.inputs.map(({ name }) => name));
    /** Makes a tensor one that can be read after the run. */
    const readable = (tensor: Tensor, name: string): Tensor => {
      const dense = isInput.has(name) || graph.params.has(name) ? g.copy(tensor) : g.dense(tensor);
      this.#ggml.ggml_set_output(dense.pointer);
      this.#ggml.ggml_build_forward_expand(g.graph, dense.pointer);
      return dense;
    };
    const finish = (name: string, tensor: Tensor): void => {
      for (const output of wanted.get(name) ?? []) this.#addOutput(output, [readable(tensor, name)], tensor.dims);
      wanted.delete(name);
    };
    const stacked = stackedOutputs(graph);
    const isPart = new Set([...stacked.values()].flatMap(({ parts: names }) => names));
    for (const name of stacked.keys()) wanted.delete(name);
    /** By name of the part: its tensor. */
    const parts = new Map<string, Tensor>();
    for (const node of graph.nodes) {
      if (node.outputs.some(({ name }) => fused.has(name) || stacked.has(name) || gathers.has(name))) continue;
      const lower = LOWERINGS[node.op] as Lower<OpName> | undefined;
      if (!lower) throw new GraphError(`the ggml engine does not compute ${node.op}`);
      const tensors = lower(scope, node);
      for (const [i, { name }] of node.outputs.entries()) {
        made.set(name, tensors[i]);
        finish(name, tensors[i]);
        if (isPart.has(name)) parts.set(name, readable(tensors[i], name));
      }
    }
    for (const { output, parts: names } of stacked.values()) {
      const tensors = names.map((name) => parts.get(name)!);
      const [{ dims }] = tensors;
      const length = tensors.reduce((sum, tensor) => sum + tensor.dims[0], 0);
      this.#addOutput(output, tensors, [length, ...dims.slice(1)]);
    }
    for (const name of [...wanted.keys()]) {
      const value = [...graph.outputs.values()].find((output) => output.name === name)!;
      finish(name, get(value));
    }
  }

  #addOutput(name: string, parts: readonly Tensor[], dims: readonly number[]): void {
    this.#outputs.push({ name, parts, dims, length: product(dims) });
  }

  /** What no operator makes: an input, a parameter, a constant. */
  #source(
    graph: OpGraph,
    weights: FindWeight,
    inputs: RunInputs,
    { name, dtype }: Value,
    slots: SlotFormat | undefined,
  ): Tensor {
    const g = this.#maker;
    if (graph.params.has(name)) return weights(name, 'plain');
    const constant = graph.constants.get(name);
    if (constant) {
      const { data, value } = constant;
      return g.over(data instanceof Float32Array ? data : Int32Array.from(data, Number), value.shape as number[]);
    }
    const { dims, data } = inputs[name];
    if (dtype === 'int64')
      return g.deriveIndex(dims, (given, out) => {
        const from = given[name].data as BigInt64Array;
        for (let i = 0; i < out.length; i++) out[i] = Number(from[i]);
      });
    const tensor =
      dtype === 'uint8' ? slotLeaf(g, slots!, graphDims({ dtype }, dims, g.packed)) : g.leaf(LEAVES[dtype], dims);
    const address = this.#ggml.addressOf(data as ArrayBufferView);
    g.setAddress(tensor, address);
    this.#inputs.push({ name, pointer: tensor.pointer, address, views: [] });
    return tensor;
  }

  /** Which tensors of the graph are parts of inputs. */
  #findViews(): void {
    const { context, graph } = this.#maker;
    const bySource = new Map(this.#inputs.map((bound) => [bound.pointer, bound]));
    const count = this.#ggml.ggml_graph_n_nodes(graph);
    for (let i = 0; i < count; i++) {
      const pointer = this.#ggml.ggml_graph_node(graph, i);
      const source = context.viewSource(pointer);
      const bound = source === null ? undefined : bySource.get(source);
      bound?.views.push({ pointer, offset: context.viewOffset(pointer) });
    }
  }
}

/** Activations that are computed together with the product that alone reads them, by the name of their result. */
function fusedNodes(graph: OpGraph): Map<string, OpNode> {
  const readers = new Map<string, number>();
  for (const node of graph.nodes)
    for (const value of node.inputs) if (value) readers.set(value.name, (readers.get(value.name) ?? 0) + 1);
  for (const value of graph.outputs.values()) readers.set(value.name, (readers.get(value.name) ?? 0) + 1);
  const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map(({ name }) => [name, node] as const)));
  const fused = new Map<string, OpNode>();
  for (const node of graph.nodes) {
    if (node.op !== 'binary' || node.attributes.kind !== 'mul') continue;
    const gate = node.inputs[0]!;
    const maker = makers.get(gate.name);
    if (maker?.op === 'unary' && maker.attributes.kind === 'silu' && readers.get(gate.name) === 1)
      fused.set(gate.name, maker);
  }
  return fused;
}

/** Slots that are gathered where they are read, by the name of the result: their reader says in which form. */
function gatherNodes({ nodes }: OpGraph): Map<string, OpNode<'gatherSlots'>> {
  const gathers = nodes.filter((node) => node.op === 'gatherSlots') as OpNode<'gatherSlots'>[];
  return new Map(gathers.map((node) => [node.outputs[0].name, node]));
}

/**
 * Outputs that are several values behind each other along the first axis: their parts are read one by one, and never
 * put together in the graph, where each pair would be copied. By the name of the value.
 */
function stackedOutputs(graph: OpGraph) {
  const makers = new Set(graph.nodes.flatMap((node) => node.outputs.map(({ name }) => name)));
  const stacked = new Map<
    string,
    { readonly name: string; readonly output: string; readonly parts: readonly string[] }
  >();
  for (const [output, { name }] of graph.outputs) {
    const node = graph.nodes.find((each) => each.op === 'concat' && each.outputs[0].name === name);
    if (node?.op !== 'concat' || node.attributes.axis !== 0) continue;
    const isRead = graph.nodes.some((each) => each.inputs.some((value) => value?.name === name));
    const parts = node.inputs.map((value) => value!.name);
    if (
      !isRead &&
      parts.every((part) => makers.has(part)) &&
      [...graph.outputs.values()].filter((o) => o.name === name).length === 1
    )
      stacked.set(name, { name, output, parts });
  }
  return stacked;
}

/** @throws GraphError where an input is missing, or has other lengths than the graph says. */
function checkInputs(graph: OpGraph, inputs: RunInputs): void {
  const lengths = new Map<string, number>();
  for (const { name, shape, dtype } of graph.inputs) {
    const given = inputs[name];
    if (!given) throw new GraphError(`the step was not given ${name}`);
    const fits =
      given.dims.length === shape.length &&
      shape.every((dim, axis) => {
        const length = typeof dim === 'number' ? dim : (lengths.get(dim) ?? given.dims[axis]);
        if (typeof dim === 'string') lengths.set(dim, length);
        return length === given.dims[axis];
      });
    if (!fits) throw new GraphError(`${name} has shape [${given.dims}], but the graph takes [${shape}]`);
    const { data } = given;
    const size = product(given.dims);
    if (!(data instanceof ARRAYS[dtype]) || (data as ArrayLike<number>).length < size)
      throw new GraphError(`${name} [${given.dims}] is not given as ${size} numbers of ${dtype}`);
  }
}
