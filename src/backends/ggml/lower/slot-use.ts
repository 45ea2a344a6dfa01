/**
 * @file How many slots a step attends to. Where the slots behind those in use have space for the chunk, its keys and
 * values are written there before attention: then keys are one matrix and are read where they are, and slots that hold
 * nothing are left out.
 */
import type { BufferChoice } from '../../../kvcache/buffers.ts';
import { EMPTY_SLOT } from '../../../kvcache/slots/slots.ts';
import type { OpGraph } from '../../../ops/graph.ts';
import { heldLike } from '../../../ops/step-names.ts';
import type { OpNode } from '../../../ops/types.ts';
import type { RunInputs } from './graph-maker.ts';
import { slotTypes } from './slot-blocks.ts';

/** Slots of a layer that hold the chunk, too. */
export interface JoinedUse {
  /** S: slots that are attended to, those of the chunk included. */
  readonly length: number;
  /**
   * The first input whose rows have as many slots in use, which hides the same: layers with slots of their own share
   * masks so.
   */
  readonly like: string;
}

/** By name of the input `slots` of attention. None where the chunk is apart. */
export type SlotUse = ReadonlyMap<string, JoinedUse>;

/** Slots are counted in steps of this size, so that a graph serves as many tokens. */
const STEP = 64;

/** Whether a chunk can be written to free slots. */
export function canAttendInSlots(buffer: BufferChoice): boolean {
  const { keys, values } = slotTypes(buffer);
  return [keys, values].every((type) => type === 'f32' || type === 'f16');
}

/** The same for one operator. Latent attention has no values of its own. */
export function canJoin({ inputs, attributes: { buffer, alibi } }: OpNode<'attend'>): boolean {
  const [, , , , , , keys, values] = inputs;
  return canAttendInSlots(buffer) && alibi === null && keys!.name !== values!.name;
}

function isFloat32({ attributes }: OpNode<'attend'>): boolean {
  const { keys, values } = slotTypes(attributes.buffer);
  return keys === 'f32' && values === 'f32';
}

/**
 * Attention that may find the chunk in the slots: one operator for each input `slots`, which all layers of a group
 * share.
 */
export interface JoinableSlots {
  readonly slots: string;
  readonly positions: string;
  readonly isFloat32: boolean;
  /** Whether a window hides some of the slots in use, or some stand for several tokens: its mask is its own. */
  readonly hides: boolean;
}

/** Of all attention of a graph: see {@link slotUse}. */
export function joinableSlots({ nodes }: OpGraph): JoinableSlots[] {
  const found = new Map<string, JoinableSlots>();
  for (const node of nodes) {
    if (node.op !== 'attend' || !canJoin(node as OpNode<'attend'>)) continue;
    const [positions, slots] = [node.inputs[3]!.name, node.inputs[4]!.name];
    const { window, chunk } = node.attributes;
    const isMerged = Boolean(node.inputs[12]);
    const hides = (found.get(slots)?.hides ?? false) || window !== null || chunk !== null || isMerged;
    found.set(slots, { slots, positions, isFloat32: isFloat32(node as OpNode<'attend'>), hides });
  }
  return [...found.values()];
}

/**
 * The graph without the chunk's keys and values as results, where attention to slots that hold the chunk writes all of
 * them there; null: some are written by the host alone.
 */
export function placingGraph(graph: OpGraph): OpGraph | null {
  const { nodes, outputs } = graph;
  const attends = nodes.filter((node) => node.op === 'attend') as OpNode<'attend'>[];
  const written = new Set<string>();
  for (const node of attends) {
    if (!canJoin(node)) return null;
    const [, k, v, , , , keys, values] = node.inputs;
    written.add(`${k!.name} ${keys!.name}`).add(`${v!.name} ${values!.name}`);
  }
  const placed = new Set<string>();
  for (const [name, value] of outputs) {
    const held = heldLike(name);
    if (held === null) continue;
    if (!written.has(`${value.name} ${held}`)) return null;
    placed.add(name);
  }
  return placed.size > 0 ? graph.withoutOutputs(placed) : null;
}

/** Whether all slots that a chunk can join hold it, so that nothing else has to. */
export const isPlaced = (joinable: readonly JoinableSlots[], { size }: SlotUse): boolean => size === joinable.length;

/** @param inputs of the step. */
export function slotUse(joinable: readonly JoinableSlots[], inputs: RunInputs): SlotUse {
  const use = new Map<string, JoinedUse>();
  /** By the numbers of slots in use. */
  const first = new Map<string, string>();
  for (const { slots, positions, isFloat32, hides } of joinable) {
    const [given, chunk] = [inputs[slots], inputs[positions]];
    // What is missing is refused where the graph is made.
    if (!given || !chunk || (given.dims[1] !== 1 && hides)) continue;
    const { data, dims } = given;
    const C = dims[2];
    const filled = filledInRows(data as Float32Array, dims);
    if (!filled) continue;
    const T = chunk.dims[1];
    const needed = filled.reduce((a, b) => Math.max(a, b), 0) + T;
    // In float16 the tokens of a chunk would see each other rounded: only a single token is written, which sees itself
    // so.
    const isExact = isFloat32 || (T === 1 && needed > T);
    if (!isExact || needed > C) continue;
    const length = Math.min(C, Math.ceil(needed / STEP) * STEP);
    const key = `${positions} ${length} ${filled.join()}`;
    const like = hides ? slots : (first.get(key) ?? slots);
    if (!hides) first.set(key, like);
    use.set(slots, { length, like });
  }
  return use;
}

/** Slots in use of each row; null where the groups of a row differ. @param dims [B, groups, C] */
function filledInRows(slots: Float32Array, [B, groups, C]: readonly number[]): number[] | null {
  const filled: number[] = [];
  for (let b = 0; b < B; b++) {
    const count = filledSlots(slots, b * groups * C, C);
    for (let g = 1; g < groups; g++) if (filledSlots(slots, (b * groups + g) * C, C) !== count) return null;
    filled.push(count);
  }
  return filled;
}

/** Slots up to the last one in use, of the C slots from index `from` on. */
export function filledSlots(slots: Float32Array, from: number, C: number): number {
  let filled = C;
  while (filled > 0 && slots[from + filled - 1] <= EMPTY_SLOT) filled--;
  return filled;
}
