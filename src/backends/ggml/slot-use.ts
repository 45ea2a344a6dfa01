/**
 * @file How many slots a step attends to. Where the slots behind those in use have space for the chunk, its keys and values are written
 * there before attention: then keys are one matrix and are read where they are, and slots that hold nothing are left out.
 */
import type { BufferChoice } from '../../kvcache/buffers.ts';
import { EMPTY_SLOT } from '../../kvcache/slots.ts';
import type { OpGraph } from '../../ops/graph.ts';
import type { OpNode } from '../../ops/types.ts';
import type { RunInputs } from './lower/graph-maker.ts';
import { slotTypes } from './slot-blocks.ts';

/** By name of the input `slots` of attention: slots that are attended to, those of the chunk included. None where the chunk is apart. */
export type SlotUse = ReadonlyMap<string, number>;

/** Slots are counted in steps of this size, so that a graph serves as many tokens. */
const STEP = 64;

/** Whether a chunk can be written to free slots: not where weights are wanted, which are told apart by slots and chunk. */
export function canAttendInSlots(buffer: BufferChoice, weights: boolean): boolean {
  const { keys, values } = slotTypes(buffer);
  return !weights && [keys, values].every((type) => type === 'f32' || type === 'f16');
}

/** The same for one operator. Latent attention has no values of its own. */
export function canJoin({ inputs, attributes: { buffer, alibi } }: OpNode<'attend'>): boolean {
  const [, , , , , queryWeights, keys, values, , , , queryMask] = inputs;
  const weights = queryWeights !== null || Boolean(queryMask);
  return canAttendInSlots(buffer, weights) && alibi === null && keys!.name !== values!.name;
}

function isFloat32({ attributes }: OpNode<'attend'>): boolean {
  const { keys, values } = slotTypes(attributes.buffer);
  return keys === 'f32' && values === 'f32';
}

/** Attention that may find the chunk in the slots: one operator for each input `slots`, which all layers of a group share. */
export interface JoinableSlots {
  readonly slots: string;
  readonly positions: string;
  readonly isFloat32: boolean;
}

/** Of all attention of a graph: see {@link slotUse}. */
export function joinableSlots({ nodes }: OpGraph): JoinableSlots[] {
  const found = new Map<string, JoinableSlots>();
  for (const node of nodes) {
    if (node.op !== 'attend' || !canJoin(node as OpNode<'attend'>)) continue;
    const [positions, slots] = [node.inputs[3]!.name, node.inputs[4]!.name];
    if (!found.has(slots)) found.set(slots, { slots, positions, isFloat32: isFloat32(node as OpNode<'attend'>) });
  }
  return [...found.values()];
}

/** @param inputs of the step. */
export function slotUse(joinable: readonly JoinableSlots[], inputs: RunInputs): SlotUse {
  const use = new Map<string, number>();
  for (const { slots, positions, isFloat32 } of joinable) {
    const [given, chunk] = [inputs[slots], inputs[positions]];
    // What is missing is refused where the graph is made.
    if (!given || !chunk || given.dims[1] !== 1) continue;
    const { data, dims } = given;
    const [B, , C] = dims;
    let most = 0;
    for (let b = 0; b < B; b++) most = Math.max(most, filledSlots(data as Float32Array, b * C, C));
    const T = chunk.dims[1];
    const needed = most + T;
    // In float16 the tokens of a chunk would see each other rounded: only a single token is written, which sees itself so.
    const isExact = isFloat32 || (T === 1 && most > 0);
    if (isExact && needed <= C) use.set(slots, Math.min(C, Math.ceil(needed / STEP) * STEP));
  }
  return use;
}

/** Slots up to the last one in use, of the C slots from index `from` on. */
export function filledSlots(slots: Float32Array, from: number, C: number): number {
  let filled = C;
  while (filled > 0 && slots[from + filled - 1] <= EMPTY_SLOT) filled--;
  return filled;
}
