/**
 * @file Slots: which token each of them holds. Layers that always hold the same positions share one table.
 */

/** The position of a slot that holds nothing: negative, and before every window. */
export const EMPTY_SLOT = -1e9;

/** `kind`: layers with a window share a table, and so do those without; `layer`: each layer has its own. */
export type ClassMode = 'kind' | 'layer';

/** The name of the table that a layer belongs to. */
export function slotClass(window: number | null, layer: number, mode: ClassMode): string {
  if (mode === 'layer') return String(layer);
  return window === null ? 'full' : 'window';
}

/** The tokens held by one class of layers. */
export class SlotTable {
  /** Most slots that may be held after a step, per row and group. */
  readonly budget: number;
  readonly batch: number;
  /** 1 where all groups hold the same positions, else G. */
  readonly groups: number;
  /** The sliding window of these layers, or null. */
  readonly window: number | null;
  /** Slots that exist now. */
  capacity = 0;
  /** [batch, groups, capacity]: token positions; {@link EMPTY_SLOT} where a slot is free. float32, as the graph reads it. */
  positions = new Float32Array(0);
  /** [batch, groups]: slots in use. They are always the first ones. */
  readonly filled: Int32Array;
  /** [batch, groups]: tokens given up that a later query could have seen. */
  readonly evicted: Int32Array;

  constructor(batch: number, groups: number, budget: number, window: number | null = null) {
    this.batch = batch;
    this.groups = groups;
    this.budget = budget;
    this.window = window;
    this.filled = new Int32Array(batch * groups);
    this.evicted = new Int32Array(batch * groups);
  }

  /** Index of slot 0 of a row and group in {@link positions}. */
  offset(row: number, group: number): number {
    return (row * this.groups + group) * this.capacity;
  }

  /** The shortest length that covers all filled slots. */
  get covering(): number {
    return this.filled.reduce((a, b) => Math.max(a, b), 0);
  }

  /** Makes room for `capacity` slots, or takes away what is not in use. */
  resize(capacity: number): void {
    const next = new Float32Array(this.batch * this.groups * capacity).fill(EMPTY_SLOT);
    const kept = Math.min(capacity, this.capacity);
    for (let i = 0; i < this.filled.length; i++)
      next.set(this.positions.subarray(i * this.capacity, i * this.capacity + kept), i * capacity);
    this.positions = next;
    this.capacity = capacity;
  }
}
