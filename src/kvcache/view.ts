/**
 * @file What a policy sees of one layer and row after a chunk: plain arrays, group by group.
 */

import type { SlotBuffer } from './buffers/slot-buffer.ts';
import type { ChunkOutputs } from './chunk.ts';
import type { SlotTable } from './slots.ts';

/**
 * One query group: the `held` slots, then the chunk's new tokens. The arrays may be longer than `length`, and belong to the
 * cache: they are overwritten by the next group that is looked at.
 */
export class GroupView {
  /** n + T: slots held, and new tokens. */
  length = 0;
  held = 0;
  positions = new Float32Array(0);
  /** The policy's own numbers of each slot, which move with it; a new token starts with 0. */
  columns: Float64Array[] = [];
  /** One array for each thing that the policy needs, in that order: weights on each slot, summed over queries and heads. */
  weights: Float32Array[] = [];
  /** 1: stays. */
  keep = new Uint8Array(0);
  /** Values by which slots are ranked, for the policy to fill. */
  values = new Float64Array(0);
  #read: ((j: number, which: 'key' | 'value', out: Float32Array) => void) | null = null;

  /** The first column. */
  get scores(): Float64Array {
    return this.columns[0];
  }

  /** The key of candidate `j` as it is (or will be) stored. */
  readKey(j: number, out: Float32Array): void {
    this.#read!(j, 'key', out);
  }

  readValue(j: number, out: Float32Array): void {
    this.#read!(j, 'value', out);
  }

  /** @internal */
  bind(read: (j: number, which: 'key' | 'value', out: Float32Array) => void): void {
    this.#read = read;
  }

  /** @internal Makes room for `length` candidates, and says that all of them stay. */
  reset(held: number, fresh: number, columns: number, needs: number): void {
    const length = held + fresh;
    if (this.positions.length < length) {
      const room = Math.ceil(length * 1.25);
      this.positions = new Float32Array(room);
      this.values = new Float64Array(room);
      this.keep = new Uint8Array(room);
      this.columns = [];
      this.weights = [];
    }
    while (this.columns.length < columns) this.columns.push(new Float64Array(this.positions.length));
    while (this.weights.length < needs) this.weights.push(new Float32Array(this.positions.length));
    this.held = held;
    this.length = length;
    this.keep.fill(1, 0, length);
  }

  /** How many stay. */
  get kept(): number {
    let count = 0;
    for (let j = 0; j < this.length; j++) count += this.keep[j];
    return count;
  }
}

/** One layer (or several that decide together) of one row. */
export class LayerView {
  layer = 0;
  row = 0;
  /** Slots that a group may hold. */
  budget = 0;
  /** Position of the newest token. */
  now = 0;
  /** Tokens of the chunk. */
  fresh = 0;
  /** Whether the chunk belongs to a prompt, and whether it is the last of it. */
  phase: ChunkOutputs['phase'] = 'decode';
  window: number | null = null;
  groups: GroupView[] = [];
  /** The query heads whose weights were summed: those of a group, or of the layer where groups decide together. */
  heads = 1;

  /**
   * @internal Takes the state of a table's row and what the graph made of its chunk.
   * @param buffers per layer of the model.
   */
  load(table: SlotTable, row: number, chunk: ChunkOutputs, first: number, source: ViewSource): void {
    const fresh = chunk.tokens[row].length;
    this.layer = table.layers[0];
    this.row = row;
    this.budget = table.budget;
    this.window = table.window;
    this.now = first + fresh - 1;
    this.fresh = fresh;
    this.phase = chunk.phase;
    const { nHead, nQueryGroups } = source;
    this.heads = table.groups === 1 ? nHead : nHead / nQueryGroups;
    while (this.groups.length < table.groups) this.groups.push(new GroupView());
    this.groups.length = table.groups;
    for (let g = 0; g < table.groups; g++) {
      const group = this.groups[g];
      const held = table.filled[table.lane(row, g)];
      group.reset(held, fresh, table.columns, source.needs);
      const at = table.positions.at(row, g);
      group.positions.set(table.positions.data.subarray(at, at + held));
      for (let t = 0; t < fresh; t++) group.positions[held + t] = first + t;
      for (let c = 0; c < table.columns; c++) {
        group.columns[c].set(table.state[c].data.subarray(at, at + held));
        group.columns[c].fill(0, held, group.length);
      }
      if (source.needs > 0) this.#loadWeights(group, g, table, chunk, source);
      group.bind((j, which, out) => {
        if (j >= held) {
          source.readFresh(this.layer, row, g, j - held, which, out);
          return;
        }
        const place = { row, group: g, slot: j };
        if (which === 'key') source.buffers[this.layer]!.readKey(place, out);
        else source.buffers[this.layer]!.readValue(place, out);
      });
    }
  }

  /** Copies the columns of the slots in use and of the chunk; a table for all groups gets their sum. */
  #loadWeights(group: GroupView, g: number, table: SlotTable, chunk: ChunkOutputs, source: ViewSource): void {
    const { needs, nQueryGroups } = source;
    const observed = chunk.observed!;
    const data = observed.weights.get(source.className)!;
    const capacity = observed.capacity.get(source.className)!;
    const columns = capacity + chunk.length;
    const groups = table.groups === 1 ? nQueryGroups : 1;
    for (let need = 0; need < needs; need++) {
      const out = group.weights[need];
      for (let part = 0; part < groups; part++) {
        const sets = observed.each ? eachSets(need, source, this.fresh) : [need];
        sets.forEach((set, i) => {
          const at = ((this.row * nQueryGroups + (groups === 1 ? g : part)) * observed.sets + set) * columns;
          const add = part > 0 || i > 0;
          copyColumns(out, 0, data, at, group.held, add);
          copyColumns(out, group.held, data, at + capacity, this.fresh, add);
        });
      }
    }
  }
}

/** What a view is read from. */
export interface ViewSource {
  readonly className: string;
  readonly buffers: readonly (SlotBuffer | null)[];
  readonly nHead: number;
  readonly nQueryGroups: number;
  /** How many arrays of weights the policy needs. */
  readonly needs: number;
  /** Which of the chunk's queries count for a need, where the graph told them apart. */
  queriesOf(need: number, fresh: number): readonly [from: number, to: number];
  readFresh(layer: number, row: number, group: number, t: number, which: 'key' | 'value', out: Float32Array): void;
}

function eachSets(need: number, source: ViewSource, fresh: number): number[] {
  const [from, to] = source.queriesOf(need, fresh);
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function copyColumns(
  out: Float32Array,
  to: number,
  data: Float32Array,
  from: number,
  count: number,
  add: boolean,
): void {
  if (!add) {
    out.set(data.subarray(from, from + count), to);
    return;
  }
  for (let j = 0; j < count; j++) out[to + j] += data[from + j];
}
