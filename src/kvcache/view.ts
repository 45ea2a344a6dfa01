/**
 * @file What a policy sees of one layer and row after a chunk: plain arrays, group by group.
 */
import type { SlotBuffer, SlotPlace } from './buffers/slot-buffer.ts';
import type { ChunkOutputs } from './chunk.ts';
import type { Row } from './row.ts';
import type { CacheShape, LayerShape } from './shape.ts';
import type { SlotTable } from './slots.ts';

/**
 * One query group: the `held` slots, then the chunk's new tokens. The arrays may be longer than `length`, and belong to the
 * cache: they are overwritten by the next layer that is looked at.
 */
export class GroupView {
  /** Which of the layer's groups this is; 0 where all decide together. */
  readonly index: number;
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
  readonly #layer: LayerView;
  /** `keep`, in words of four bytes. */
  #words = new Uint32Array(0);

  constructor(layer: LayerView, index: number) {
    this.#layer = layer;
    this.index = index;
  }

  /** The first column. */
  get scores(): Float64Array {
    return this.columns[0];
  }

  /** How many stay. */
  get kept(): number {
    const { length, keep } = this;
    const words = length >> 2;
    let count = 0;
    // Four at a time, for this is asked often: a word of four ones is 0x01010101.
    for (let w = 0; w < words; ) {
      let sum = 0;
      for (const end = Math.min(words, w + 255); w < end; w++) sum += this.#words[w];
      count += (sum & 255) + ((sum >>> 8) & 255) + ((sum >>> 16) & 255) + Math.floor(sum / 0x1000000);
    }
    for (let j = 4 * words; j < length; j++) count += keep[j];
    return count;
  }

  /** The keys of all candidates, behind each other [length, D], as {@link readKey} tells them one by one. */
  readKeys(out: Float32Array): void {
    this.#layer.readKeys(this, out);
  }

  /** The key of candidate `j` [D] as it is, or will be, stored. */
  readKey(j: number, out: Float32Array): void {
    this.#layer.read(this, j, 'key', out);
  }

  readValue(j: number, out: Float32Array): void {
    this.#layer.read(this, j, 'value', out);
  }

  /** The key of a new token (`j` ≥ `held`) as the graph made it. */
  readExactKey(j: number, out: Float32Array): void {
    this.#layer.readExact(this, j, 'key', out);
  }

  readExactValue(j: number, out: Float32Array): void {
    this.#layer.readExact(this, j, 'value', out);
  }

  /** @internal Makes room for the candidates, and says that all of them stay. */
  reset(held: number, fresh: number, columns: number, needs: number): void {
    const length = held + fresh;
    if (this.positions.length < length) {
      const room = Math.ceil(length * 1.25);
      this.positions = new Float32Array(room);
      this.values = new Float64Array(room);
      this.#words = new Uint32Array(Math.ceil(room / 4));
      this.keep = new Uint8Array(this.#words.buffer);
      this.columns = [];
      this.weights = [];
    }
    while (this.columns.length < columns) this.columns.push(new Float64Array(this.positions.length));
    while (this.weights.length < needs) this.weights.push(new Float32Array(this.positions.length));
    this.held = held;
    this.length = length;
    this.keep.fill(1, 0, length);
  }
}

/** What of its cache a view reads. */
export interface ViewSource {
  readonly shape: CacheShape;
  readonly buffers: readonly (SlotBuffer | null)[];
  /** How many arrays of weights the policy needs. */
  readonly needCount: number;
  /** Which of the chunk's queries count for a need, where the graph told them apart. */
  needRange(need: number, fresh: number): readonly [from: number, to: number];
  /** The policy's own numbers of a row. */
  numbers(row: number): Float64Array;
}

/** One layer (or several that decide together) of one row. */
export class LayerView {
  /** The first of the layers. */
  layer = 0;
  row = 0;
  /** Slots that a group may hold. */
  budget = 0;
  /** Position of the newest token. */
  now = 0;
  /** Where its key is rotated to: its position, until the row was rebased. */
  place = 0;
  /** Tokens of the chunk. */
  fresh = 0;
  /** Whether the chunk belongs to a prompt, and whether it is the last of it. */
  phase: ChunkOutputs['phase'] = 'decode';
  shape!: LayerShape;
  /** The chunk, for a policy that wants more of it than weights. */
  chunk!: ChunkOutputs;
  groups: GroupView[] = [];
  /** The query heads whose weights were summed: those of a group, or of the layer where groups decide together. */
  heads = 1;
  readonly #source: ViewSource;
  #table!: SlotTable;
  /** Where the chunk's keys begin, of group 0, and its values. */
  #keysAt = 0;
  #valuesAt = 0;
  readonly #place: SlotPlace = { row: 0, group: 0, slot: 0 };

  constructor(source: ViewSource) {
    this.#source = source;
  }

  /** Numbers that the policy keeps for the row, from chunk to chunk. */
  get numbers(): Float64Array {
    return this.#source.numbers(this.row);
  }

  /**
   * @internal Takes the state of a table's row and what the graph made of its chunk.
   * @param nth which of the layers with slots the table's first one is.
   */
  load(table: SlotTable, row: number, chunk: ChunkOutputs, { tokens, place }: Row, nth: number): void {
    const { shape, needCount } = this.#source;
    const { nHead, nQueryGroups: G, headSize: D } = shape;
    const fresh = chunk.tokens[row].length;
    const first = tokens.length;
    this.place = place + fresh - 1;
    this.#table = table;
    this.chunk = chunk;
    this.layer = table.layers[0];
    this.shape = shape.layers[this.layer];
    this.row = row;
    this.budget = table.budget;
    this.now = first + fresh - 1;
    this.fresh = fresh;
    this.phase = chunk.phase;
    this.heads = table.groups === 1 ? nHead : nHead / G;
    const batch = chunk.tokens.length;
    this.#keysAt = (2 * nth * batch + row) * G * chunk.length * D;
    this.#valuesAt = ((2 * nth + 1) * batch + row) * G * chunk.length * D;
    while (this.groups.length < table.groups) this.groups.push(new GroupView(this, this.groups.length));
    this.groups.length = table.groups;
    for (const group of this.groups) {
      const held = table.filled[table.lane(row, group.index)];
      group.reset(held, fresh, table.columns, needCount);
      const at = table.positions.at(row, group.index);
      group.positions.set(table.positions.data.subarray(at, at + held));
      for (let t = 0; t < fresh; t++) group.positions[held + t] = first + t;
      for (let c = 0; c < table.columns; c++) {
        group.columns[c].set(table.state[c].data.subarray(at, at + held));
        group.columns[c].fill(0, held, group.length);
      }
      if (needCount > 0) this.#loadWeights(group);
    }
  }

  /** @internal */
  read(group: GroupView, j: number, which: 'key' | 'value', out: Float32Array): void {
    const buffer = this.#source.buffers[this.layer]!;
    if (j >= group.held) {
      buffer.preview(this.chunk.present, this.#presentAt(group, j, which), which, out);
      return;
    }
    const place = this.#place;
    place.row = this.row;
    place.group = group.index;
    place.slot = j;
    if (which === 'key') buffer.readKey(place, out);
    else buffer.readValue(place, out);
  }

  /** @internal */
  readKeys(group: GroupView, out: Float32Array): void {
    const { headSize: D } = this.#source.shape;
    this.#source.buffers[this.layer]!.readKeys(this.row, group.index, group.held, out);
    for (let j = group.held; j < group.length; j++) this.read(group, j, 'key', out.subarray(j * D, (j + 1) * D));
  }

  /** @internal */
  readExact(group: GroupView, j: number, which: 'key' | 'value', out: Float32Array): void {
    const at = this.#presentAt(group, j, which);
    for (let i = 0; i < out.length; i++) out[i] = this.chunk.present[at + i];
  }

  #presentAt(group: GroupView, j: number, which: 'key' | 'value'): number {
    const t = group.index * this.chunk.length + j - group.held;
    return (which === 'key' ? this.#keysAt : this.#valuesAt) + t * this.#source.shape.headSize;
  }

  /** Copies the columns of the slots in use and of the chunk; a table for all groups gets their sum. */
  #loadWeights(group: GroupView): void {
    const { shape, needCount } = this.#source;
    const { sets, each, capacity, weights } = this.chunk.observed!;
    const { name } = this.#table;
    const slots = capacity.get(name)!;
    const data = weights.get(name)!;
    const columns = slots + this.chunk.length;
    const parts = this.#table.groups === 1 ? shape.nQueryGroups : 1;
    for (let need = 0; need < needCount; need++) {
      const [from, to] = each ? this.#source.needRange(need, this.fresh) : [need, need + 1];
      let add = false;
      for (let part = 0; part < parts; part++)
        for (let set = from; set < to; set++) {
          const at = ((this.row * shape.nQueryGroups + group.index + part) * sets + set) * columns;
          copyColumns(group.weights[need], 0, data, at, group.held, add);
          copyColumns(group.weights[need], group.held, data, at + slots, this.fresh, add);
          add = true;
        }
    }
  }
}

function copyColumns(
  out: Float32Array,
  to: number,
  data: Float32Array,
  from: number,
  count: number,
  add: boolean,
): void {
  if (add) for (let j = 0; j < count; j++) out[to + j] += data[from + j];
  else out.set(data.subarray(from, from + count), to);
}
