/**
 * @file From a traced model to an ONNX graph.
 */
import type { OpGraph } from '../../../ops/graph.ts';
import type { OpNode } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import type { PreparedWeights } from '../../../weights/types.ts';
import type { Value } from '../builder.ts';
import { ADAPTERS } from './adapters.ts';
import { ATTENTION } from './attention.ts';
import { BASIC } from './basic.ts';
import { LowerContext, type LowerTable } from './context.ts';
import { EXPERTS } from './experts.ts';
import { LAYERS, ROWS_VIEW } from './layers.ts';
import { RECURRENCES } from './recurrences.ts';
import { STATES } from './states.ts';

const TABLE: LowerTable = { ...BASIC, ...LAYERS, ...ATTENTION, ...EXPERTS, ...STATES, ...RECURRENCES, ...ADAPTERS };

/** A model as ONNX Runtime reads it. */
export interface OnnxModel {
  readonly nodeCount: number;
  /** Names of the inputs that the graph has: an input that no operator reads is left out. */
  readonly inputs: ReadonlySet<string>;
  /** The lengths of an input's axes in ONNX's graph. */
  dimsOf(name: string, dims: readonly number[]): readonly number[];
  /** The bytes of the model, which refer to the prepared weights. */
  serialize(weights: PreparedWeights): Uint8Array;
}

/** @throws GraphError for an operator that ONNX Runtime does not have. */
export function lowerToOnnx(graph: OpGraph): OnnxModel {
  const ctx = new LowerContext(graph);
  const { g } = ctx;
  for (const node of graph.nodes) {
    const lower = TABLE[node.op] as ((ctx: LowerContext, node: OpNode) => readonly Value[]) | undefined;
    if (!lower) throw new GraphError(`the ONNX engine has no operator "${node.op}" (${node.scope})`);
    const values = node.scope === '' ? lower(ctx, node) : g.scope(node.scope.slice(0, -1), () => lower(ctx, node));
    node.outputs.forEach((output, i) => {
      ctx.bind(output, values[i]);
    });
  }
  for (const [name, value] of graph.outputs) g.output(ctx.value(value), name);
  return {
    nodeCount: g.nodeCount,
    inputs: new Set(g.inputs.map(({ name }) => name)),
    dimsOf: (name, dims) => {
      const all = [...dims];
      for (const axis of ctx.addedAxes.get(name) ?? []) all.splice(axis, 0, 1);
      return all;
    },
    serialize: (weights) =>
      g.serialise((name) => {
        const { offset, length } = weights.params.get(name.replace(ROWS_VIEW, ''))!;
        return { location: weights.file.name, offset, length };
      }),
  };
}
