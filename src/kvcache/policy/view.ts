/**
 * @file What a policy sees of one layer and row after a chunk: plain arrays, group by group.
 */
import { InputError } from '../../util/errors.ts';
import { floatToHalf, halfToFloat } from '../buffers/float16.ts';
import type { SlotBuffer } from '../buffers/slot-buffer.ts';
import { type ChunkOutputs, partOf } from '../rows/chunk.ts';
import type { Row } from '../rows/row.ts';
import { type CacheShape, type LayerShape, turnKey } from '../shape.ts';
import type { SlotTable } from '../slots/slots.ts';
import { type Combine, copyColumns } from './columns.ts';
import { KnownFields } from './known-fields.ts';
import { isOfChunks, type NeededSet } from './needs.ts';

type Half = 'key' | 'value';

/**
 * One query group: the `held` slots, then the chunk's new tokens. The arrays may be longer than `length`, and belong to
 * the cache: they are overwritten by the next layer.
 */
export class GroupView extends KnownFields {
  /** Which of the layer's groups this is; 0 where all decide together. */
  readonly index: number;
  /** n + T: slots held, and new tokens. */
  length = 0;
  /** n: slots held; the candidates from here on are new tokens. */
  held = 0;
  /** Slots that the group may hold. */
  budget = 0;
  /** Position of each candidate in its sequence. */
  positions = new Float32Array(0);
  /** The policy's own numbers of each slot, which move with it; a new token starts with 0. */
  slotState: Float64Array[] = [];
  /** @internal Whether {@link slotState} is the memory of the slots itself. */
  isInPlace = false;
  /**
   * One array for each of the policy's needs, in that order: weights on each slot, of all queries and heads together.
   */
  weights: Float32Array[] = [];
  /**
   * Each key's product with the unit vector along the mean of the directions k / ‖k‖ of all of them: where the policy
   * asks for it (`needsAlongMean`). New tokens' keys count as the model made them.
   */
  alongMean = new Float64Array(0);
  /** Of each candidate: 1: it stays, 0: it is evicted. */
  keep = new Uint8Array(0);
  /** Values by which slots are ranked: the higher stay. */
  values = new Float64Array(0);
  /** @internal Candidates that later queries may see. */
  visible = 0;
  /** @internal What was merged into candidates that stay. */
  readonly merged: MergedSlot[] = [];
  /** @internal Whether {@link values} are those of this chunk. */
  ranked = false;
  readonly #layer: LayerView;
  /** {@link slotState}, where it is a copy. */
  #copies: Float64Array[] = [];
  /** Those that do not stay, so many: a search for them took a tenth of a step's bookkeeping. */
  #gone = new Int32Array(0);
  #goneCount = 0;

  constructor(layer: LayerView, index: number) {
    super();
    this.#layer = layer;
    this.index = index;
  }

  /** The first of {@link slotState}. */
  get scores(): Float64Array {
    return this.slotState[0];
  }

  /** How many stay. */
  get kept(): number {
    return this.length - this.#goneCount;
  }

  /** Those that do not stay, in no order: a view, which later evictions change. */
  get gone(): Int32Array {
    return this.#gone.subarray(0, this.#goneCount);
  }

  /** @internal Candidate `j` does not stay. */
  evict(j: number): void {
    if (this.keep[j] === 0) return;
    this.keep[j] = 0;
    this.#gone[this.#goneCount++] = j;
  }

  /**
   * Reads the key of candidate `j`, as it is (or will be) stored, into an array of {@link LayerView.keySize} numbers. A
   * function of its own: it may be destructured, as the other `read…` may.
   */
  readonly readKey = (j: number, out: Float32Array): void => this.#read(j, 'key', out, false);

  /** The value of candidate `j`, an array of {@link LayerView.valueSize} numbers. */
  readonly readValue = (j: number, out: Float32Array): void => this.#read(j, 'value', out, false);

  /** The key of a new token (`j` ≥ `held`) as the model made it. */
  readonly readExactKey = (j: number, out: Float32Array): void => this.#read(j, 'key', out, true);

  /** The value of a new token as the model made it. */
  readonly readExactValue = (j: number, out: Float32Array): void => this.#read(j, 'value', out, true);

  /**
   * The key of candidate `j` before it was rotated.
   * @param exact of a new token: as the model made it, before it is stored.
   * @throws InputError in models whose rotation depends on the length of the sequence.
   */
  readonly readPlainKey = (j: number, out: Float32Array, exact = false): void => {
    this.#read(j, 'key', out, exact);
    this.#layer.turnBack(this, j, out);
  };

  /** The keys of all candidates, behind each other [length, keySize]; `out` may be longer. */
  readonly readKeys = (out: Float32Array): void => this.#layer.readKeys(this, out);

  /**
   * Replaces the key and the value of candidate `j`, which stays: it stands for `tokens` tokens from now on. For
   * `merge` of a policy.
   * @param key [keySize]. @param value [valueSize]. Both are copied.
   * @throws InputError for a candidate that does not stay, or a number of tokens below 1.
   */
  readonly merge = (j: number, key: Float32Array, value: Float32Array, tokens: number): void => {
    if (!(Number.isInteger(j) && j >= 0 && j < this.length && this.keep[j] === 1))
      throw new InputError(`nothing can be merged into candidate ${j}, which does not stay`);
    if (!(tokens >= 1)) throw new InputError(`a slot stands for at least one token, not ${tokens}`);
    this.#checkSize('key', key);
    this.#checkSize('value', value);
    // As fused attention adds it: engines would differ by 0.2 % of a weight.
    const logTokens = halfToFloat(floatToHalf(Math.log(tokens)));
    this.merged.push({ candidate: j, key: key.slice(), value: value.slice(), logTokens });
  };

  /** @internal Sizes the arrays for the candidates, and marks all of them as staying. */
  reset(held: number, newTokens: number, budget: number, needs: number): void {
    const length = held + newTokens;
    if (this.positions.length < length) {
      const size = Math.ceil(length * 1.25);
      this.positions = new Float32Array(size);
      this.values = new Float64Array(size);
      this.keep = new Uint8Array(size);
      this.#gone = new Int32Array(size);
      this.#copies = [];
      this.weights = [];
    }
    while (this.weights.length < needs) this.weights.push(new Float32Array(this.positions.length));
    this.held = held;
    this.length = length;
    this.budget = budget;
    this.ranked = false;
    this.#goneCount = 0;
    this.merged.length = 0;
    this.keep.fill(1, 0, length);
  }

  /**
   * @internal Takes the policy's numbers of the slots held.
   * @param inPlace the memory of the slots, as long as the candidates are many; null: they are copied.
   */
  loadState(table: SlotTable, row: number, inPlace: Float64Array[] | null): void {
    const { held, length } = this;
    this.isInPlace = inPlace !== null;
    this.slotState = inPlace ?? this.#copyState(table, row);
    for (const numbers of this.slotState) numbers.fill(0, held, length);
  }

  #copyState({ slotState }: SlotTable, row: number): Float64Array[] {
    const copies = this.#copies;
    while (copies.length < slotState.length) copies.push(new Float64Array(this.positions.length));
    return slotState.map((array, c) => {
      const at = array.at(row, this.index);
      copies[c].set(array.data.subarray(at, at + this.held));
      return copies[c];
    });
  }

  #read(j: number, half: Half, out: Float32Array, exact: boolean): void {
    const layer = this.#layer;
    this.#checkSize(half, out);
    if (!(Number.isInteger(j) && j >= (exact ? this.held : 0) && j < this.length))
      throw new InputError(
        `there is no candidate ${j}: ${exact ? 'new tokens' : 'they'} go from ${exact ? this.held : 0} to ${this.length - 1}`,
      );
    if (exact) layer.readExact(this, j, half, out);
    else layer.read(this, j, half, out);
  }

  #checkSize(half: Half, array: Float32Array): void {
    const { layer, keySize, valueSize } = this.#layer;
    const size = half === 'key' ? keySize : valueSize;
    if (array.length !== size)
      throw new InputError(`a ${half} of layer ${layer} has ${size} numbers, but the array has ${array.length}`);
  }
}

/** A candidate that stays, and stands for several tokens. */
export interface MergedSlot {
  readonly candidate: number;
  readonly key: Float32Array;
  readonly value: Float32Array;
  /** The natural logarithm of their number, a number of float16. */
  readonly logTokens: number;
}

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
    else codec.preview(this.#chunkOf(half), this.#chunkAt(group, j, half), out, to);
  }

  /** @internal */
  readKeys(group: GroupView, out: Float32Array): void {
    const D = this.keySize;
    if (out.length < group.length * D)
      throw new InputError(`${group.length} keys of ${D} numbers do not fit into an array of ${out.length}`);
    for (let j = 0; j < group.length; j++) this.read(group, j, 'key', out, j * D);
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
    const { sets, weights, inSlots } = reduced[reduction]!;
    if (sets === 0 || (isOfChunks(need) && (each || this.newTokens < 2))) return void out.fill(0, 0, group.length);
    const { ragged } = this.#table;
    const name = ragged ? partOf(this.#table.name, group.index) : this.#table.name;
    const slots = capacity.get(name)!;
    const data = weights.get(name);
    if (!data) return void out.fill(0, 0, group.length);
    // The chunk comes behind all slots, or was written behind those in use.
    const isInSlots = inSlots?.has(name) ?? false;
    const columns = isInSlots
      ? data.length / (this.chunk.tokens.length * (ragged ? 1 : groups) * sets)
      : slots + this.chunk.length;
    const chunkAt = isInSlots ? group.held : slots;
    const parts = this.#table.groups === 1 ? groups : 1;
    const range = each ? this.#source.queryRange(need, this.newTokens) : null;
    const [from, to] = range ?? [own, own + 1];
    let combine: Combine = 'set';
    for (let part = 0; part < parts; part++)
      for (let set = from; set < to; set++) {
        const index = ragged ? this.row : this.row * groups + group.index + part;
        const at = (index * sets + set) * columns;
        copyColumns(out, 0, data, at, group.held, combine);
        copyColumns(out, group.held, data, at + chunkAt, this.newTokens, combine);
        combine = reduction;
      }
  }
}
