/**
 * @file From a traced model to an ONNX graph, by the table of all operators.
 */
import type { OpGraph } from '../../../ops/graph.ts';
import { ADAPTERS } from './adapters.ts';
import type { LowerTable } from './context.ts';
import { EXPERTS } from './experts.ts';
import { COMMON, lowerBy, type OnnxModel } from './lower-by.ts';
import { RECURRENCES } from './recurrences.ts';
import { STATES } from './states.ts';

const ALL: LowerTable = { ...COMMON, ...EXPERTS, ...STATES, ...RECURRENCES, ...ADAPTERS };

/** @throws GraphError for an operator that ONNX Runtime does not have. */
export const lowerToOnnx = (graph: OpGraph): OnnxModel => lowerBy(ALL, graph);
