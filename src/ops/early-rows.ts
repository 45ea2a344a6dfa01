/**
 * @file Takes the rows that want logits out of the stream as early as possible: what computes each token by itself, as
 * the last layer's MLP does, then runs for these tokens only. At 1B that is 5 % of a prompt.
 */
import type { OpGraph } from './graph.ts';
import type { Dim } from './shapes.ts';
import type { OpName, OpNode, Value } from './types.ts';

/**
 * Operators that compute each token by itself, and how many of their first inputs are tokens.
 * @default all inputs may be
 */
const BY_TOKEN: Readonly<Partial<Record<OpName, number>>> = {
  linear: 1,
  norm: 1,
  addNorm: 2,
  unary: 1,
  xielu: 1,
  binary: 2,
  scale: 1,
  softcap: 1,
  clip: 1,
  split: 1,
  concat: Number.POSITIVE_INFINITY,
  reshape: 1,
  tokensLike: 2,
  route: 1,
  experts: 4,
};

/** Whether a value has a row of numbers for each token: [B, T, n] or [B·T, n]. */
function isByToken({ shape }: Value): boolean {
  return (shape.length === 3 && shape[0] === 'B' && shape[1] === 'T') || (shape.length === 2 && shape[0] === 'B*T');
}

/** Whether the operator computes the tokens of its outputs from the same tokens of its inputs. */
function computesByToken(node: OpNode): boolean {
  const count = BY_TOKEN[node.op];
  if (count === undefined || !node.outputs.every(isByToken)) return false;
  const given = node.inputs.filter((value): value is Value => value !== null);
  if (node.op === 'reshape') return isByToken(given[0]) && given[0].shape.at(-1) === node.outputs[0].shape.at(-1);
  if (node.op === 'split' && node.attributes.axis !== given[0].shape.length - 1) return false;
  if (node.op === 'concat' && node.attributes.axis !== given[0].shape.length - 1) return false;
  const isShared = (value: Value): boolean =>
    typeof value.shape[0] !== 'string' && (node.op !== 'binary' || value.shape.length <= 1);
  return given.some(isByToken) && given.every((value, i) => (i < count && isByToken(value)) || isShared(value));
}

/** Nodes of which nothing is read but, in the end, the rows that `gather` takes. */
function nodesBefore({ nodes, outputs }: OpGraph, gather: OpNode): ReadonlySet<OpNode> {
  const readers = new Map<string, OpNode[]>();
  for (const node of nodes)
    for (const value of node.inputs) if (value) readers.set(value.name, [...(readers.get(value.name) ?? []), node]);
  const results = new Set([...outputs.values()].map(({ name }) => name));
  const excluded = new Set<OpNode>();
  for (;;) {
    const found = new Set<OpNode>([gather]);
    for (const node of nodes.slice(0, nodes.indexOf(gather)).reverse()) {
      const readBy = node.outputs.flatMap(({ name }) => readers.get(name) ?? []);
      const isOnlyHere = readBy.length > 0 && readBy.every((reader) => found.has(reader));
      const isResult = node.outputs.some(({ name }) => results.has(name));
      if (isOnlyHere && !isResult && !excluded.has(node) && computesByToken(node)) found.add(node);
    }
    found.delete(gather);
    // Only rows of floats are taken.
    const made = new Set([...found].flatMap((node) => node.outputs.map(({ name }) => name)));
    const wrong = [...found].filter((node) =>
      node.inputs.some((value) => value && isByToken(value) && value.dtype !== 'float32' && !made.has(value.name)),
    );
    if (wrong.length === 0) return found;
    for (const node of wrong) excluded.add(node);
  }
}

/**
 * The graph with the rows `index` (an input) taken before the operators that compute each token by itself.
 * @returns the graph itself where there are none, or where not exactly one operator takes these rows.
 */
export function withEarlyRows(graph: OpGraph, index: string): OpGraph {
  const { nodes } = graph;
  const takers = nodes.filter(({ op, inputs }) => op === 'gatherRows' && inputs[1]?.name === index);
  const [gather] = takers;
  if (takers.length !== 1 || !isByToken(gather.inputs[0]!)) return graph;
  const moved = nodesBefore(graph, gather);
  if (![...moved].some(({ op }) => op !== 'reshape')) return graph;
  const [, rows] = gather.inputs as [Value, Value];
  const N = rows.shape[0];
  /** By name of the value of all tokens. */
  const taken = new Map<string, Value>();
  const next: OpNode[] = [];
  const made = new Set([...moved].flatMap((node) => node.outputs.map(({ name }) => name)));
  const take = (value: Value): Value => {
    const known = taken.get(value.name);
    if (known) return known;
    const width = value.shape.at(-1)!;
    const flat = value.shape.length === 2 ? value : { ...value, name: `${value.name}.flat`, shape: ['B*T', width] };
    if (flat !== value)
      next.push({
        ...gather,
        op: 'reshape',
        inputs: [value],
        attributes: { target: [-1, numberOf(width)] },
        outputs: [flat],
      });
    const out = { ...value, name: `${value.name}.rows`, shape: [N, width] };
    next.push({ ...gather, op: 'gatherRows', inputs: [flat, rows], outputs: [out] } as OpNode);
    taken.set(value.name, out);
    return out;
  };
  for (const node of nodes) {
    if (node === gather) {
      // Its readers know the value by this name.
      const value = taken.get(gather.inputs[0]!.name)!;
      next.push({
        ...gather,
        op: 'reshape',
        inputs: [value],
        attributes: { target: [0, numberOf(value.shape[1])] },
      } as OpNode);
      continue;
    }
    if (!moved.has(node)) {
      next.push(node);
      continue;
    }
    if (node.op === 'reshape' || node.op === 'tokensLike') {
      taken.set(node.outputs[0].name, take(node.inputs[0]!));
      continue;
    }
    const inputs = node.inputs.map((value) =>
      value && (made.has(value.name) || isByToken(value)) ? take(value) : value,
    );
    const outputs = node.outputs.map((value) => {
      const out = { ...value, shape: [N, value.shape.at(-1)!] };
      taken.set(value.name, out);
      return out;
    });
    const attributes = 'axis' in node.attributes ? { ...node.attributes, axis: 1 } : node.attributes;
    next.push({ ...node, inputs, outputs, attributes } as OpNode);
  }
  return graph.withNodes(next);
}

function numberOf(dim: Dim): number {
  return typeof dim === 'number' ? dim : -1;
}
