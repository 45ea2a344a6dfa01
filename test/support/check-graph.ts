/**
 * @file Decodes a model with an independent ONNX schema and checks that it is well formed.
 */
import { fromBinary } from '@bufbuild/protobuf';
import {
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  TensorProto_DataLocation,
  type ValueInfoProto,
} from 'onnx-buf';
import { lowerToOnnx } from '../../src/backends/onnx/lower/lower.ts';
import type { OpGraph } from '../../src/ops/graph.ts';
import { layOut } from '../../src/weights/prepared/layout.ts';
import type { PreparedWeights } from '../../src/weights/types.ts';

/** What the checks found, besides that all of them held. */
export interface DecodedGraph {
  readonly model: ModelProto;
  /** Those of branches included. */
  readonly nodes: number;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Names of the weights outside of the graph, with offset and length. */
  readonly externals: ReadonlyMap<string, { offset: number; length: number }>;
}

/** @throws Error that says what is wrong with the graph. */
export function checkGraph(bytes: Uint8Array): DecodedGraph {
  const model = fromBinary(ModelProtoSchema, bytes);
  const graph = model.graph;
  if (!graph) throw new Error('the model has no graph');
  if (model.$unknown?.length || graph.$unknown?.length) throw new Error('the model has fields that ONNX does not know');
  const domains = new Set(model.opsetImport.map((set) => set.domain));
  const defined = new Map<string, string>();
  const define = (name: string, by: string) => {
    if (!name) throw new Error(`${by} defines a value without a name`);
    if (defined.has(name)) throw new Error(`${name} is defined by ${defined.get(name)} and by ${by}`);
    defined.set(name, by);
  };
  for (const input of graph.input) {
    define(input.name, 'an input');
    const type = input.type?.value;
    if (type?.case !== 'tensorType' || !type.value.elemType || !type.value.shape)
      throw new Error(`input ${input.name} has no type`);
  }
  const externals = new Map<string, { offset: number; length: number }>();
  for (const tensor of graph.initializer) {
    define(tensor.name, 'an initializer');
    const count = tensor.dims.reduce((a, b) => a * Number(b), 1);
    const width = { 1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2 }[tensor.dataType];
    if (!width) throw new Error(`initializer ${tensor.name} has the element type ${tensor.dataType}`);
    let bytes = tensor.rawData.length;
    if (tensor.dataLocation === TensorProto_DataLocation.EXTERNAL) {
      const entries = Object.fromEntries(tensor.externalData.map(({ key, value }) => [key, value]));
      if (!entries.location) throw new Error(`initializer ${tensor.name} does not say where it is`);
      bytes = Number(entries.length);
      externals.set(tensor.name, { offset: Number(entries.offset), length: bytes });
    }
    if (bytes !== count * width)
      throw new Error(`initializer ${tensor.name} [${tensor.dims}] has ${bytes} bytes instead of ${count * width}`);
  }
  const used = new Set<string>();
  const visit = (nodes: readonly NodeProto[], outputs: readonly ValueInfoProto[]): number => {
    let count = nodes.length;
    for (const node of nodes) {
      if (!node.opType) throw new Error(`node ${node.name} has no operator`);
      if (!domains.has(node.domain))
        throw new Error(`node ${node.name} is of the domain "${node.domain}", not imported`);
      for (const name of node.input) {
        if (name && !defined.has(name))
          throw new Error(`node ${node.name} (${node.opType}) reads ${name} before it is made`);
        used.add(name);
      }
      for (const attribute of node.attribute) {
        if (!attribute.type) throw new Error(`attribute ${attribute.name} of ${node.name} has no type`);
        // A branch sees what was made before it, and what it makes is seen by nobody else.
        if (attribute.g) {
          const outside = new Map(defined);
          if (node.opType === 'If' && attribute.g.input.length > 0)
            throw new Error(`the branch ${attribute.name} of ${node.name} has inputs`);
          for (const input of attribute.g.input) define(input.name, `an input of ${attribute.name} of ${node.name}`);
          count += visit(attribute.g.node, attribute.g.output);
          for (const name of defined.keys()) if (!outside.has(name)) defined.delete(name);
        }
      }
      for (const name of node.output) if (name) define(name, node.name);
    }
    for (const output of outputs) {
      if (!defined.has(output.name)) throw new Error(`output ${output.name} is not made by any node`);
      used.add(output.name);
    }
    return count;
  };
  const nodes = visit(graph.node, graph.output);
  for (const name of [...graph.input, ...graph.initializer].map((value) => value.name))
    if (!used.has(name)) throw new Error(`${name} is never used`);
  return {
    model,
    nodes,
    inputs: graph.input.map((value) => value.name),
    outputs: graph.output.map((value) => value.name),
    externals,
  };
}

/** The weights' table of a graph, as if they were prepared. */
export function preparedFor(graph: OpGraph): PreparedWeights {
  return { ...layOut([...graph.params.values()]), file: { folder: '/nowhere', name: 'weights.bin' } };
}

/** The graph as ONNX, and what the checks found in it. */
export function checkLowered(graph: OpGraph): { bytes: Uint8Array; nodeCount: number; found: DecodedGraph } {
  const { nodeCount, serialize } = lowerToOnnx(graph);
  const bytes = serialize(preparedFor(graph));
  return { bytes, nodeCount, found: checkGraph(bytes) };
}
