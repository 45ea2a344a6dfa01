/**
 * @file What a policy sees of one layer and row after a chunk.
 */
import { InputError } from '../../util/errors.ts';
import { hadamard } from '../buffers/hadamard.ts';
import type { SlotBuffer } from '../buffers/slot-buffer.ts';
import type { ChunkOutputs } from '../rows/chunk.ts';
import type { Row } from '../rows/row.ts';
import { type CacheShape, type LayerShape, turnKey } from '../shape.ts';
import type { SlotTable } from '../slots/slots.ts';
import { type Combine, copyColumns } from './columns.ts';
import { GroupView, type Half } from './group-view.ts';
import { KnownFields } from './known-fields.ts';
import { isOfChunks, type NeededSet } from './needs.ts';

/** What of its cache a view reads. */
export interface ViewSource {
  readonly shape: CacheShape;
  readonly buffers: readonly (SlotBuffer | null)[];
  readonly needs: readonly NeededSet[];
  /** Whether policies may change their numbers where the slots have them. */
  readonly lendsState: boolean;
  /** Which of the chunk's queries count for a need, where the graph told them apart. */
  queryRange(need: NeededSet['need'], newTokens: number): readonly [from: number, to: number];
  /** Where a layer's numbers begin in {@link Row.layerState}, and how many there are. */
  layerStateOf(layer: number): readonly [from: number, count: number];
  /** Where a layer's queries begin in {@link Row.keptQueries}. */
  firstQueryOf(layer: number): number;
}

/** One layer (or several that decide together) of one row. */
export class LayerView extends KnownFields {
  /** The first of the layers. */
  layer = 0;
  /** Index of the row. */
  row = 0;
  /** Slots that a group may hold; the largest where groups differ (see {@link GroupView.budget}). */
  budget = 0;
  /** Position of the newest token. */
  lastPosition = 0;
  /** The position that its key is rotated to: its own, until the row was rebased. */
  ropePosition = 0;
  /** Tokens of the chunk. */
  newTokens = 0;
  /** Whether the chunk belongs to a prompt, and whether it is the last of it. */
  phase: ChunkOutputs['phase'] = 'decode';
  /** What the layer is: its sizes, window and rotation. */
  layerShape!: LayerShape;
  /** The chunk, for a policy that wants more of it than weights. */
  chunk!: ChunkOutputs;
  /** Its query groups; a single one where all decide together. */
  groups: GroupView[] = [];
  /** The query heads whose weights were summed: those of a group, or of the layer where groups decide together. */
  heads = 1;
  /** Numbers that the policy keeps for the row, from chunk to chunk. */
  rowState: Float64Array = new Float64Array(0);
  /** Numbers that the policy keeps for the row and layer, as they were before this chunk … */
  layerState: Float64Array = new Float64Array(0);
  /** … and what they are to become: every one must be written at each chunk, unless it is the same array. */
  nextLayerState: Float64Array = new Float64Array(0);
  /**
   * The queries of the chunks that left these numbers as they were, until now: of each the sum [heads, keySize], the
   * oldest first.
   */
  keptQueries: readonly Float32Array[] = [];
  readonly #source: ViewSource;
  /** As many as the layer with most groups has. */
  readonly #all: GroupView[] = [];
  #table!: SlotTable;

  constructor(source: ViewSource) {
    super();
    this.#source = source;
  }

  /** Numbers of a key. */
  get keySize(): number {
    return this.layerShape.keySize;
  }

  /** Numbers of a value. */
  get valueSize(): number {
    return this.layerShape.valueSize;
  }

  /** Numbers of a key: in most models those of a value, too. */
  get headSize(): number {
    return this.layerShape.keySize;
  }

  /** @internal Takes the state of a table's row and what the graph made of its chunk. @param budgets of the groups. */
  load(table: SlotTable, rowIndex: number, chunk: ChunkOutputs, row: Row, budgets: readonly number[]): void {
    const { shape, needs, lendsState } = this.#source;
    const newTokens = chunk.tokens[rowIndex].length;
    const first = row.tokens.length;
    const [layer] = table.layers;
    this.#table = table;
    this.chunk = chunk;
    this.layer = layer;
    this.layerShape = shape.layers[layer];
    this.row = rowIndex;
    this.budget = Math.max(...budgets);
    this.lastPosition = first + newTokens - 1;
    this.ropePosition = row.ropePosition + newTokens - 1;
    this.newTokens = newTokens;
    this.phase = chunk.phase;
    this.heads = this.layerShape.heads / (table.groups === 1 ? 1 : this.layerShape.groups);
    this.rowState = row.rowState;
    const [from, count] = this.#source.layerStateOf(layer);
    if (this.layerState.length > 0 || count > 0) {
      this.layerState = row.layerState.subarray(from, from + count);
      this.nextLayerState = row.keepsLayerState ? this.layerState : row.nextLayerState.subarray(from, from + count);
      this.keptQueries = row.keepsLayerState ? [] : this.#queriesOf(row);
    }
    while (this.#all.length < table.groups) this.#all.push(new GroupView(this, this.#all.length));
    if (this.groups.length !== table.groups) this.groups = this.#all.slice(0, table.groups);
    for (const group of this.groups) {
      const held = table.filled[table.groupIndex(rowIndex, group.index)];
      group.reset(held, newTokens, budgets[group.index], needs.length);
      const at = table.positions.at(rowIndex, group.index);
      group.positions.set(table.positions.data.subarray(at, at + held));
      for (let t = 0; t < newTokens; t++) group.positions[held + t] = first + t;
      group.loadState(table, rowIndex, lendsState ? table.stateViews(rowIndex, group.index, group.length) : null);
      for (let i = 0; i < needs.length; i++) this.#loadWeights(group, needs[i], group.weights[i]);
    }
  }

  #queriesOf({ keptQueries }: Row): Float32Array[] {
    const { heads, keySize } = this.layerShape;
    const from = this.#source.firstQueryOf(this.layer);
    return keptQueries.map((queries) => queries.subarray(from, from + heads * keySize));
  }

  /** @internal */
  read(group: GroupView, j: number, half: Half, out: Float32Array, to = 0): void {
    const buffer = this.#source.buffers[this.layer]!;
    const codec = half === 'key' ? buffer.keys : buffer.values;
    if (j < group.held) codec.read(this.row, group.index, j, out, to);
    else codec.preview(group.index, this.#chunkOf(half), this.#chunkAt(group, j, half), out, to);
  }

  /** @internal */
  readStored(group: GroupView, half: Half, candidates: ArrayLike<number>, out: Float32Array): void {
    const buffer = this.#source.buffers[this.layer]!;
    const { rotated, size } = half === 'key' ? buffer.keys : buffer.values;
    this.#checkRoom(candidates.length, size, out);
    for (let i = 0; i < candidates.length; i++) {
      const j = candidates[i];
      if (rotated && j < group.held) rotated.read(this.row, group.index, j, out, i * size);
      else {
        this.read(group, j, half, out, i * size);
        if (rotated) hadamard(out, i * size, size);
      }
    }
  }

  /** @internal Makes of a key or value what is stored of it, or the other way round. */
  turn(half: Half, vector: Float32Array): void {
    const buffer = this.#source.buffers[this.layer]!;
    const { rotated, size } = half === 'key' ? buffer.keys : buffer.values;
    if (rotated) hadamard(vector, 0, size);
  }

  /** @internal */
  readKeys(group: GroupView, out: Float32Array): void {
    const D = this.keySize;
    this.#checkRoom(group.length, D, out);
    for (let j = 0; j < group.length; j++) this.read(group, j, 'key', out, j * D);
  }

  #checkRoom(count: number, size: number, out: Float32Array): void {
    if (out.length < count * size)
      throw new InputError(`${count} keys of ${size} numbers do not fit into an array of ${out.length}`);
  }

  /** @internal */
  readExact(group: GroupView, j: number, half: Half, out: Float32Array): void {
    const source = this.#chunkOf(half);
    const at = this.#chunkAt(group, j, half);
    for (let i = 0; i < out.length; i++) out[i] = source[at + i];
  }

  /** @internal Turns a candidate's key back to position 0. */
  turnBack(group: GroupView, j: number, key: Float32Array): void {
    const { rotation } = this.layerShape;
    if (rotation === null) return;
    if (rotation === 'varies')
      throw new InputError(
        `the keys of layer ${this.layer} can't be turned back: their rotation depends on the length`,
      );
    const first = this.ropePosition - this.newTokens + 1;
    const isHeld = j < group.held;
    turnKey(key, rotation, isHeld ? this.#table.ropePosition(this.row, group.index, j) : first + j - group.held, 0);
  }

  #chunkOf(half: Half): Float32Array {
    return (half === 'key' ? this.chunk.keys : this.chunk.values)[this.layer]!;
  }

  #chunkAt(group: GroupView, j: number, half: Half): number {
    const { groups, keySize, valueSize } = this.layerShape;
    const token = (this.row * groups + group.index) * this.chunk.length + j - group.held;
    return token * (half === 'key' ? keySize : valueSize);
  }

  /** Copies the weights on the slots in use and on the chunk; a table for all groups gets those of all of them. */
  #loadWeights(group: GroupView, { need, reduction, index: own }: NeededSet, out: Float32Array): void {
    const { groups } = this.layerShape;
    const { each, capacity, reduced } = this.chunk.observed!;
    const { sets, weights } = reduced[reduction]!;
    const { part, index: first } = this.#table.partOf(group.index);
    const data = weights.get(part.name);
    const isNone = sets === 0 || (isOfChunks(need) && (each || this.newTokens < 2));
    if (isNone || !data) return void out.fill(0, 0, group.length);
    // A table of one group has the weights of all.
    const lines = this.#table.groups === 1 ? groups : part.groups.length;
    const slots = capacity.get(part.name)!;
    const columns = data.length / (this.chunk.tokens.length * lines * sets);
    const chunkAt = chunkColumn(columns, { slots, held: group.held, length: this.chunk.length });
    const held = need === 'own-echo' ? 0 : group.held;
    const taken = this.#table.groups === 1 ? groups : 1;
    const range = each ? this.#source.queryRange(need, this.newTokens) : null;
    const [from, to] = range ?? [own, own + 1];
    out.fill(0, held, group.held);
    let combine: Combine = 'set';
    for (let line = first; line < first + taken; line++)
      for (let set = from; set < to; set++) {
        const at = ((this.row * lines + line) * sets + set) * columns;
        copyColumns(out, 0, data, at, held, combine);
        copyColumns(out, group.held, data, at + chunkAt, this.newTokens, combine);
        combine = reduction;
      }
  }
}

/**
 * Where the chunk's columns begin among those of a set of weights: behind all slots; behind those in use, where the
 * chunk was written to the slots first; or at the beginning, where there are no others.
 * @param columns of a set: C + T, fewer, or T. @param of C, slots in use, and T.
 */
export function chunkColumn(
  columns: number,
  { slots, held, length }: { readonly slots: number; readonly held: number; readonly length: number },
): number {
  if (columns === length) return 0;
  return columns < slots + length ? held : slots;
}
