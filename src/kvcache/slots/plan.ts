/**
 * @file What a step changes in the slots of one row and layer group: slots that move, tokens that are written, slots
 * that are freed. The owner of the memory carries it out ({@link SlotStore.apply}: loops on the host). Each group's
 * survivors are always its first slots.
 */
import { GraphError } from '../../util/errors.ts';
import type { GroupView, MergedSlot } from '../policy/group-view.ts';
import type { LayerView } from '../policy/view.ts';

/** The plan of one group. Lists are kept from step to step: their lengths are counted apart. */
class GroupPlan {
  readonly group: number;
  /** Slots in use before, and after. */
  held = 0;
  kept = 0;
  /** Slots in use before whose content does not stay. */
  overwritten = 0;
  /** Pairs [from, to]: slots to copy, in this order. */
  moves = new Int32Array(0);
  moveCount = 0;
  /** Triples [slot, token, count]: so many of the chunk's tokens go to consecutive slots. */
  writes = new Int32Array(0);
  writeCount = 0;
  /** The policy's numbers of all candidates, which go where their tokens go. */
  slotState: readonly Float64Array[] = [];
  /** Whether these are the slots' own memory. */
  isInPlace = false;
  /** Candidates. */
  length = 0;
  /** What is written to candidates that stay, after they have their slots. */
  merged: readonly MergedSlot[] = [];

  constructor(group: number) {
    this.group = group;
  }

  /**
   * Plans the survivors' slots: those held stay where they are, as far as that is among the first; others fill the
   * gaps.
   */
  make({ held, length, keep, kept, gone, slotState, isInPlace, merged }: GroupView): void {
    this.held = held;
    this.length = length;
    this.isInPlace = isInPlace;
    this.kept = kept;
    this.merged = merged;
    this.overwritten = Math.max(0, held - kept) + merged.length;
    for (let i = 0; i < gone.length; i++) if (gone[i] < held && gone[i] < kept) this.overwritten++;
    this.moveCount = 0;
    this.writeCount = 0;
    this.slotState = slotState;
    let free = kept === length ? held : 0;
    for (let j = kept; j < held; j++) {
      if (keep[j] === 0) continue;
      free = nextFree(keep, free, held);
      this.#move(j, free++);
    }
    for (let j = held; j < length; ) {
      if (keep[j] === 0) {
        j++;
        continue;
      }
      free = nextFree(keep, free, held);
      const slot = free;
      const first = j;
      // Neighbours are written in one piece.
      do {
        free++;
        j++;
      } while (j < length && keep[j] === 1 && (free >= held || keep[free] === 0));
      this.#write(slot, first - held, j - first);
    }
  }

  /** The slot that a candidate which stays has after the step. */
  slotOf(candidate: number): number {
    for (let i = 0; i < 2 * this.moveCount; i += 2) if (this.moves[i] === candidate) return this.moves[i + 1];
    if (candidate < this.held) return candidate;
    const token = candidate - this.held;
    for (let i = 0; i < 3 * this.writeCount; i += 3) {
      const from = this.writes[i + 1];
      if (token >= from && token < from + this.writes[i + 2]) return this.writes[i] + token - from;
    }
    throw new GraphError(`candidate ${candidate} has no slot`);
  }

  #move(from: number, to: number): void {
    this.moves = grown(this.moves, 2 * this.moveCount + 2);
    this.moves[2 * this.moveCount] = from;
    this.moves[2 * this.moveCount++ + 1] = to;
  }

  #write(slot: number, token: number, count: number): void {
    this.writes = grown(this.writes, 3 * this.writeCount + 3);
    const at = 3 * this.writeCount++;
    this.writes[at] = slot;
    this.writes[at + 1] = token;
    this.writes[at + 2] = count;
  }
}

/** The plan of one row and layer group. */
export class StepPlan {
  readonly groups: GroupPlan[] = [];
  /** Whether the policy's numbers of slots are what they were: they need no comparison. */
  stateRests = false;

  make(view: LayerView, stateRests: boolean): void {
    this.stateRests = stateRests;
    while (this.groups.length < view.groups.length) this.groups.push(new GroupPlan(this.groups.length));
    this.groups.length = view.groups.length;
    for (let g = 0; g < view.groups.length; g++) this.groups[g].make(view.groups[g]);
  }
}

/** The first slot from `free` on whose token goes, or that was not in use. */
function nextFree(keep: Uint8Array, free: number, held: number): number {
  const slot = keep.indexOf(0, free);
  return slot < 0 || slot > held ? Math.max(free, held) : slot;
}

function grown(list: Int32Array, length: number): Int32Array<ArrayBuffer> {
  if (length <= list.length) return list as Int32Array<ArrayBuffer>;
  const next = new Int32Array(Math.max(12, 2 * length));
  next.set(list);
  return next;
}
