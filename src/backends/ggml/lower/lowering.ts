/**
 * @file Turns a traced model into a ggml graph for concrete lengths: one function for each operator.
 */
import type { OpGraph } from '../../../ops/graph.ts';
import type { OpName, OpNode, Value } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import type { Tensor } from '../memory/tensor.ts';
import type { WeightUse } from '../weights/weights.ts';
import type { GraphMaker } from './graph-maker.ts';
import type { SlotUse } from './slot-use.ts';

/** What lowering functions see of the graph around them. */
export interface Scope {
  readonly g: GraphMaker;
  /** A value that was made before, an input, a parameter or a constant. */
  get(value: Value): Tensor;
  /** The same, where the value may be left out. */
  optional(value: Value | null): Tensor | null;
  /** A parameter as a matrix for products, or a stack of them; any other value as it is. */
  matrix(value: Value, experts?: number): Tensor;
  /**
   * An input that holds slots of a cache, or those that are gathered of one.
   * @param asStored gathered slots may stay blocks, too. @default false: they become float32.
   */
  slots(value: Value, asStored?: boolean): Tensor;
  /** Slots that hold the chunk, too, by name of the input `slots`. */
  readonly slotUse: SlotUse;
  /** Concrete lengths of an input. */
  dimsOf(value: Value): readonly number[];
  /** Things that several operators share, such as masks. */
  shared<T>(key: string, make: () => T): T;
  /** The operator whose only reader is the one that is lowered, where that takes it over. */
  fusedInto(value: Value | null): OpNode | null;
}

export type Lower<K extends OpName> = (scope: Scope, node: OpNode<K>) => readonly Tensor[];

/** How the graph uses its parameters. */
export function weightUses(graph: OpGraph): WeightUse[] {
  const uses = new Map<string, WeightUse>();
  const add = (value: Value | null | undefined, as: WeightUse['as'], experts?: number): void => {
    if (!value || !graph.params.has(value.name)) return;
    uses.set(`${as} ${value.name}`, { name: value.name, as, experts });
  };
  for (const node of graph.nodes) {
    const taken = new Set<Value | null>();
    const use = (value: Value | null | undefined, as: WeightUse['as'], experts?: number): void => {
      add(value, as, experts);
      if (value) taken.add(value);
    };
    if (node.op === 'linear') use(node.inputs[1], 'matrix');
    if (node.op === 'experts')
      for (const value of node.inputs.slice(4, node.attributes.spec.gated ? 7 : 6))
        use(value, 'stack', node.attributes.spec.count);
    if (node.op === 'expertLinear') use(node.inputs[2], 'stack', node.attributes.count);
    for (const value of node.inputs) if (!taken.has(value)) add(value, 'plain');
  }
  for (const value of graph.outputs.values()) add(value, 'plain');
  return [...uses.values()];
}

/** The value that has to be there. */
export function need(value: Value | null | undefined, what: string): Value {
  if (!value) throw new GraphError(`${what} is missing`);
  return value;
}
