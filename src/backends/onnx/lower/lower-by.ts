/**
 * @file From a traced model to an ONNX graph, by a table of operators.
 */
import type { OpGraph } from '../../../ops/graph.ts';
import type { OpNode } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import type { PreparedWeights, StoredParam } from '../../../weights/types.ts';
import type { ExternalData, GraphBuilder, Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import { ATTENTION } from './attention.ts';
import { BASIC } from './basic.ts';
import { LowerContext, type LowerTable } from './context.ts';
import { LAYERS, ROWS_VIEW } from './layers.ts';

/** Operators of most models. */
export const COMMON: LowerTable = { ...BASIC, ...LAYERS, ...ATTENTION };

/** A model as ONNX Runtime reads it. */
export interface OnnxModel {
  readonly nodeCount: number;
  /** Names of the inputs that the graph has: an input that no operator reads is left out. */
  readonly inputs: ReadonlySet<string>;
  /** Inputs that the trace does not have, int64 [n]: each number is the sum of the last axes of other inputs. */
  readonly lengths: ReadonlyMap<string, readonly (readonly string[])[]>;
  /** The lengths of an input's axes in ONNX's graph. */
  dimsOf(name: string, dims: readonly number[]): readonly number[];
  /**
   * The bytes of the model, which refer to the prepared weights.
   * @param locate where a tensor of them is. @default in their file
   */
  serialize(weights: PreparedWeights, locate?: (param: StoredParam) => ExternalData): Uint8Array;
  /** Names of the prepared tensors that the model reads, and how many constants of the graph have their bytes. */
  readonly weights: ReadonlyMap<string, number>;
}

/** @throws GraphError for an operator that the table does not have. */
export function lowerBy(table: LowerTable, graph: OpGraph): OnnxModel {
  const ctx = new LowerContext(graph);
  const { g } = ctx;
  for (const node of graph.nodes) {
    const lower = table[node.op] as ((ctx: LowerContext, node: OpNode) => readonly Value[]) | undefined;
    if (!lower) throw new GraphError(`the ONNX engine has no operator "${node.op}" (${node.scope})`);
    const values = node.scope === '' ? lower(ctx, node) : g.scope(node.scope.slice(0, -1), () => lower(ctx, node));
    node.outputs.forEach((output, i) => {
      ctx.bind(output, values[i]);
    });
  }
  for (const [name, value] of graph.outputs) {
    const made = ctx.value(value);
    g.output(ctx.isStatic && name !== 'logits' ? computed(g, made) : made, name);
  }
  const weights = new Map<string, number>();
  for (const name of [...g.externals.keys()].map(storedName)) weights.set(name, (weights.get(name) ?? 0) + 1);
  return {
    nodeCount: g.nodeCount,
    inputs: new Set(g.inputs.map(({ name }) => name)),
    lengths: ctx.lengths,
    dimsOf: (name, dims) => {
      const all = [...dims];
      for (const axis of ctx.addedAxes.get(name) ?? []) all.splice(axis, 0, 1);
      return all;
    },
    serialize: ({ file, params }, locate = ({ offset, length }) => ({ location: file.name, offset, length })) =>
      g.serialize((name) => locate(params.get(storedName(name))!)),
    weights,
  };
}

/**
 * The value, made by an operator: what only views other values becomes an output by a copy, and copies are no part of
 * the commands that a GPU records.
 */
const computed = (g: GraphBuilder, value: Value): Value => onnx.clip(g, value, -LARGEST, LARGEST);
/** No key or value is larger; operators that change nothing at all are dropped by ONNX Runtime. */
const LARGEST = 3e38;

const storedName = (name: string): string => name.replace(ROWS_VIEW, '');
