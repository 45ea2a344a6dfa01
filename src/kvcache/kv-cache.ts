/**
 * @file The cache's base class: it owns the memory, knows which token each slot holds, and keeps within its budget.
 *
 * A step goes: `reserve` (may the chunk come?) → the graph attends to all that is held and to the chunk → `append` (the
 * chunk's keys and values come in; the policy sees the weights, and says what stays where that is more than the budget).
 */
import { CacheFullError, GraphError, InputError } from '../util/errors.ts';
import { range, wholeNumber } from '../util/numbers.ts';
import type { PlaneData } from './buffers/plane.ts';
import type { SlotBuffer } from './buffers/slot-buffer.ts';
import { type BufferKind, createBuffer } from './buffers.ts';
import type { ChunkOutputs } from './chunk.ts';
import { freeSlots, moveSlot, type PlacementTarget, placeGroup } from './placement.ts';
import { rebaseRow } from './rebase.ts';
import { Row } from './row.ts';
import type { CacheShape } from './shape.ts';
import { type ClassMode, SlotTable, slotClass } from './slots.ts';
import { AttachedTable, StateTable } from './states.ts';
import { TableUndo } from './undo.ts';
import { LayerView } from './view.ts';

export interface CacheOptions {
  /** Slots that are held after a step, per layer, row and query group: the budget, in tokens. */
  readonly cacheLength: number;
  /** Rows of the batch; 1 unless stated. */
  readonly batch?: number;
  /** Slots by which the memory grows; 64 unless stated. */
  readonly blockSize?: number;
  /** How keys and values are stored; `float32` unless stated. */
  readonly buffer?: BufferKind;
  /**
   * Move what is held closer together when the next token would be at a position that the model was not made for; true unless
   * stated. Policies that keep everything never do.
   */
  readonly rebase?: boolean;
}

/** What a policy may ask the graph for, besides keys and values: attention weights … */
export type Need =
  /** … summed over all of the chunk's queries, */
  | 'sums'
  /** … of the chunk's last query, */
  | 'last-query'
  /** … summed over as many of its last queries as the policy's window is long. */
  | 'window';

/** How a policy wants its slots laid out. */
export interface CacheLayout {
  /** `kind`: all layers hold the same positions; `layer`: each decides for itself. */
  readonly mode: ClassMode;
  /** Whether each query group decides for itself. */
  readonly perGroup: boolean;
  /** Numbers that the policy keeps for each slot; the first is its score. */
  readonly columns: number;
  /** Numbers that the policy keeps for each row. */
  readonly numbers?: number;
  /** Slots of a layer; the cacheLength unless stated. */
  readonly budget?: (layer: number) => number;
}

export interface CacheStats {
  readonly policy: string;
  readonly cacheLength: number;
  /** Tokens seen, per row. */
  readonly seen: readonly number[];
  /** Per row: slots held, as a mean over layers and groups. */
  readonly held: readonly number[];
  /**
   * Per row: tokens given up, as a mean over layers and groups. Tokens that a layer's sliding window hides from all that
   * comes are not lost, and not counted.
   */
  readonly evicted: readonly number[];
  readonly bytes: number;
}

export interface CacheMemory {
  /** Bytes of the slots that there are, for keys and values. What is reserved for more, and not used yet, does not count. */
  readonly keysAndValues: number;
  /** Bytes of positions and scores, and of what it takes to take the last chunk back. */
  readonly bookkeeping: number;
  /** Bytes of recurrent states, and of keys and values that were attached. */
  readonly states: number;
  readonly total: number;
  /** Most that keys and values can ever take under this budget. */
  readonly limit: number;
}

const BLOCK = 64;

export abstract class KVCache {
  /** Name of the policy. */
  abstract readonly policy: string;
  readonly shape: CacheShape;
  readonly options: CacheOptions;
  readonly cacheLength: number;
  readonly bufferKind: BufferKind;
  /** Which layers share their positions. */
  readonly mode: ClassMode;
  /** Per layer: name of its table; empty where it holds no slots. */
  readonly classes: readonly string[];
  /** What the policy asks of the graph. */
  readonly needs: readonly Need[] = [];
  /** Whether it also asks for the moments of the queries before they are rotated. */
  readonly needsQueries: boolean = false;
  /** Whether the policy gives tokens up. */
  readonly evicts: boolean = true;
  /** The last chunk of a prompt should have this many tokens; 0: no matter. */
  readonly promptTail: number = 0;
  /** Tokens at the start of a sequence that always stay. */
  readonly sinks: number = 0;
  tables: ReadonlyMap<string, SlotTable>;
  buffers: readonly (SlotBuffer | null)[];
  /** What recurrent layers keep. */
  readonly states: StateTable;
  /** What was attached to the rows, for layers that attend to it. */
  readonly attached: AttachedTable;
  readonly #block: number;
  readonly #numbers: number;
  /** Per layer: which of the layers with slots it is. */
  readonly #order: readonly number[];
  #rows: Row[];
  /** How long a row is known to become. */
  #expected = 0;
  #undo: Map<SlotTable, TableUndo> | null = null;
  readonly #view: LayerView;

  /** @throws InputError for options out of range. */
  constructor(shape: CacheShape, options: CacheOptions, layout: CacheLayout) {
    this.shape = shape;
    this.options = options;
    this.mode = layout.mode;
    this.cacheLength = wholeNumber('cacheLength', options.cacheLength);
    const batch = wholeNumber('batch', options.batch ?? 1);
    this.#block = wholeNumber('blockSize', options.blockSize ?? BLOCK);
    this.bufferKind = options.buffer ?? 'float32';
    this.classes = shape.layers.map(({ slots, window }, l) => (slots ? slotClass(window, l, layout.mode) : ''));
    const withSlots = range(shape.nLayer).filter((l) => this.classes[l] !== '');
    this.#order = this.classes.map((_, l) => withSlots.indexOf(l));
    const tables = new Map<string, SlotTable>();
    for (const l of withSlots) {
      const name = this.classes[l];
      if (tables.has(name)) continue;
      const { window } = shape.layers[l];
      const budget = layout.budget?.(l) ?? this.cacheLength;
      const spec = {
        name,
        layers: withSlots.filter((layer) => this.classes[layer] === name),
        groups: layout.perGroup ? shape.nQueryGroups : 1,
        // A layer with a window w never needs more than the w - 1 tokens before the next one.
        budget: window === null ? budget : Math.max(1, Math.min(budget, window - 1)),
        window,
        columns: layout.columns,
      };
      tables.set(name, new SlotTable(batch, spec));
    }
    this.tables = tables;
    this.buffers = shape.layers.map(({ slots }) =>
      slots ? createBuffer(this.bufferKind, batch, shape.nQueryGroups, shape.headSize) : null,
    );
    this.states = new StateTable(batch, shape);
    this.attached = new AttachedTable(batch, shape);
    this.#numbers = layout.numbers ?? 0;
    this.#rows = range(batch).map(() => new Row(this.#numbers));
    this.#view = new LayerView(this.#viewSource());
  }

  /** Rows. */
  get batch(): number {
    return this.#rows.length;
  }

  /** Number of tokens that a row has seen; the position of its next token. */
  length(row = 0): number {
    return this.#rows[row].tokens.length;
  }

  /** Where the next token's key is rotated to: {@link length}, until the row was rebased. */
  place(row = 0): number {
    return this.#rows[row].place;
  }

  /** The tokens that a row has seen, those evicted included. */
  tokens(row = 0): number[] {
    return this.#rows[row].tokens.toArray();
  }

  /**
   * Says whether tokens may come, before anything is computed for them. Memory will be had for all of them at once.
   * @param counts of each row.
   * @throws CacheFullError where the policy keeps everything and there is no room.
   */
  reserve(counts: readonly number[]): void {
    counts.forEach((count, row) => {
      this.#expected = Math.max(this.#expected, this.length(row) + count);
    });
  }

  /**
   * How many more tokens a row may take before the policy gives any up: 0 once its budget is used up, and Infinity where it never
   * gives up what a later token could see.
   */
  room(row = 0): number {
    let room = Number.POSITIVE_INFINITY;
    for (const table of this.tables.values()) {
      // What only a window hides is not given up.
      if (table.window !== null && table.budget >= table.window - 1) continue;
      room = Math.min(room, this.roomIn(table, row));
    }
    return Math.max(0, room);
  }

  /** The same for the layers of one table. */
  protected roomIn(table: SlotTable, row: number): number {
    const from = table.lane(row, 0);
    return table.budget - Math.max(...table.filled.subarray(from, from + table.groups));
  }

  /** Makes at least one slot, for operators don't like a dimension of 0. @internal */
  open(): void {
    for (const table of this.tables.values()) if (table.capacity === 0) this.#setCapacity(table, 1);
  }

  /** Looks at a layer after a chunk, before anything has to go: the place to bring scores up to date. */
  protected observe(_view: LayerView): void {}

  /** Clears `keep` of the candidates that go. Called where the layer {@link overflows}, which it must not do afterwards. */
  protected abstract select(view: LayerView): void;

  /** Whether a layer would hold more than it may. */
  protected overflows(view: LayerView): boolean {
    return view.groups.some((group) => group.kept > view.budget);
  }

  /** Whether what a policy knows of a slot depends on tokens that came after it. */
  protected get scoredByLater(): boolean {
    return this.needs.length > 0 || this.needsQueries;
  }

  /** Most slots that one group of a layer can come to hold. */
  protected mostPerGroup(budget: number): number {
    return budget;
  }

  /** Which of `fresh` queries count for a need. */
  protected needRange(need: Need, fresh: number): readonly [from: number, to: number] {
    return need === 'last-query' ? [fresh - 1, fresh] : [0, fresh];
  }

  /** How much each of a chunk's queries counts for each need [needs][fresh]. */
  queryWeights(fresh: number): Float32Array[] {
    return this.needs.map((need) => new Float32Array(fresh).fill(1, ...this.needRange(need, fresh)));
  }

  /** Takes the chunk's keys and values in. An error of the policy leaves the cache as it was. */
  append(chunk: ChunkOutputs): void {
    const rows = range(this.batch).filter((row) => chunk.tokens[row].length > 0);
    this.#own();
    this.#beginUndo(rows);
    try {
      for (const table of this.tables.values()) for (const row of rows) this.#appendRow(table, row, chunk);
    } catch (error) {
      for (const row of rows) {
        this.#takeBack(row);
        this.#rows[row].abandon();
      }
      throw error;
    }
    this.states.advance(rows, chunk);
    for (const row of rows) this.#rows[row].advance(chunk, chunk.tokens[row], chunk.places?.[row]);
  }

  /**
   * Goes back to the first `length` tokens of a row. The last chunk can always be taken back as a whole, as if it had never come;
   * a part of it where the policy needs no attention weights and the model has no recurrent states, or the step told its queries
   * apart (`eachQuery`). What lies further back can be had back only while nothing was evicted, under a policy that keeps no scores,
   * in a model without recurrent states.
   * @throws InputError where that state can't be had back.
   */
  truncate(length: number, row = 0): void {
    wholeNumber('length', length, 0);
    const { tokens, chunkStart, last } = this.#rows[row];
    if (length === tokens.length) return;
    if (length > tokens.length)
      throw new InputError(`the row has seen ${tokens.length} tokens, and can't be cut to ${length}`);
    if (length >= chunkStart && last) {
      const part = length > chunkStart ? this.#part(last, row, length - chunkStart) : null;
      this.#revert(row);
      if (part) this.append(part);
      return;
    }
    this.#checkTruncation(length, row);
    this.#own();
    for (const table of this.tables.values()) this.#drop(table, row, length);
    this.#rows[row].truncate(length);
  }

  /**
   * A cache with the same content, which goes on by itself: the memory is shared until one of them writes. The last chunk can be
   * taken back in the original only.
   */
  fork(): this {
    const twin = this.recreate(this.batch);
    twin.tables = new Map([...this.tables].map(([name, table]) => [name, table.fork()]));
    twin.buffers = this.buffers.map((buffer) => buffer?.fork() ?? null);
    twin.states.share(this.states);
    twin.attached.share(this.attached);
    twin.#rows = this.#rows.map((row) => row.clone());
    return twin;
  }

  /** An empty cache of the same kind and options. */
  recreate(batch = 1): this {
    return Reflect.construct(this.constructor, [this.shape, { ...this.options, batch }]) as this;
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    this.#own();
    for (const row of range(this.batch)) this.clearRow(row);
    for (const table of this.tables.values()) table.resize(this.batch, 0);
    for (const buffer of this.buffers) buffer?.resize(this.batch, 0);
    this.#expected = 0;
    this.#undo = null;
  }

  /** Forgets a row. */
  clearRow(row: number): void {
    this.#own();
    for (const table of this.tables.values())
      for (let g = 0; g < table.groups; g++) {
        freeSlots({ table, buffers: this.buffers }, row, g, 0);
        table.evicted[table.lane(row, g)] = 0;
      }
    this.states.clearRow(row);
    this.attached.clearRow(row);
    this.#rows[row] = new Row(this.#numbers);
  }

  /** Gives memory back that no row needs any more, as after long rows have left. */
  trim(): void {
    this.#own();
    for (const table of this.tables.values()) this.#shrink(table);
  }

  /** Changes the number of rows: the first ones stay, new ones are empty. */
  setBatch(batch: number): void {
    wholeNumber('batch', batch);
    for (let row = batch; row < this.batch; row++) this.clearRow(row);
    for (const table of this.tables.values()) this.#setCapacity(table, table.capacity, batch);
    this.states.setBatch(batch);
    this.attached.setBatch(batch);
    this.#rows = range(batch).map((row) => this.#rows[row] ?? new Row(this.#numbers));
    // What the undo log holds is laid out for another batch.
    this.#undo = null;
    for (const row of this.#rows) row.last = null;
  }

  /**
   * Takes a row over from another cache of the same policy and options, or from this one. Its last chunk can't be taken back here.
   * @throws InputError where the caches differ.
   */
  copyRow(source: KVCache, from: number, to: number): void {
    if (source.constructor !== this.constructor || source.shape !== this.shape || !this.#isLike(source))
      throw new InputError(`a row of a ${source.policy} cache does not fit into this ${this.policy} cache`);
    this.#own();
    for (const [name, table] of this.tables) {
      const other = source.tables.get(name)!;
      if (other.capacity > table.capacity) this.#setCapacity(table, other.capacity);
      table.copyRow(other, from, to);
      for (const l of table.layers) this.buffers[l]!.copyRow(source.buffers[l]!, from, to);
    }
    this.states.copyRow(source.states, from, to);
    this.attached.copyRow(source.attached, from, to);
    this.#rows[to] = source.#rows[from].clone();
  }

  /**
   * Moves the held tokens of a row closer together, as if the evicted ones had never been: the place of the next token is as near
   * as can be. For sequences that grow beyond what the model was made for. The last chunk can't be taken back any more.
   * @throws InputError where the model's keys can't be moved.
   */
  rebase(row = 0): void {
    if (!this.canRebase)
      throw new InputError("this model's positions can't be moved: it has no rotary embedding that is fixed");
    this.#own();
    this.#rows[row].place = rebaseRow(this.shape, this.tables.values(), this.buffers, row, this.sinks);
    this.#rows[row].last = null;
  }

  /**
   * Rebases a row where its next `count` tokens would otherwise reach beyond a model's `limit` of positions, if that helps.
   * @internal
   */
  makePlace(row: number, count: number, limit: number): void {
    if (this.place(row) + count <= limit || this.options.rebase === false || !this.evicts || !this.canRebase) return;
    let most = 0;
    for (const table of this.tables.values())
      for (let g = 0; g < table.groups; g++) most = Math.max(most, table.filled[table.lane(row, g)]);
    if (most + count <= limit) this.rebase(row);
  }

  /** Whether {@link rebase} is possible. */
  get canRebase(): boolean {
    return this.shape.layers.every(({ slots, rotation }) => !slots || rotation !== 'varies');
  }

  /** Positions of the tokens that a layer holds for a row and group, ascending. */
  tokenPositions(layer: number, row = 0, group = 0): number[] {
    return this.#slotsInOrder(layer, row, group).map(({ position }) => position);
  }

  /** The policy's scores of the tokens that a layer holds, in the order of {@link tokenPositions}; null where it has none. */
  scores(layer: number, row = 0, group = 0): number[] | null {
    const table = this.tables.get(this.classes[layer]);
    const scores = table?.state[0];
    if (!scores) return null;
    const at = scores.at(row, table.groups === 1 ? 0 : group);
    return this.#slotsInOrder(layer, row, group).map(({ slot }) => scores.data[at + slot]);
  }

  /** The key and value that a layer holds for a position, as the graph reads them [D]; null where it holds none. */
  slot(layer: number, position: number, row = 0, group = 0): { key: Float32Array; value: Float32Array } | null {
    const found = this.#slotsInOrder(layer, row, group).find((slot) => slot.position === position);
    if (!found) return null;
    const key = new Float32Array(this.shape.headSize);
    const value = new Float32Array(this.shape.headSize);
    const place = { row, group, slot: found.slot };
    this.buffers[layer]!.readKey(place, key);
    this.buffers[layer]!.readValue(place, value);
    return { key, value };
  }

  memory(): CacheMemory {
    const keysAndValues = this.buffers.reduce((sum, buffer) => sum + (buffer?.bytes ?? 0), 0);
    let bookkeeping = this.#rows.reduce((sum, row) => sum + row.tokens.bytes + 2 * row.numbers.byteLength, 0);
    let limit = 0;
    for (const table of this.tables.values()) {
      bookkeeping += table.bytes + (this.#undo?.get(table)?.bytes ?? 0);
      const slots = this.batch * this.shape.nQueryGroups * this.mostPerGroup(table.budget);
      for (const l of table.layers) limit += slots * this.buffers[l]!.slotBytes;
    }
    bookkeeping += this.states.undoBytes;
    const states = this.states.bytes + this.attached.bytes;
    return { keysAndValues, bookkeeping, states, total: keysAndValues + bookkeeping + states, limit };
  }

  stats(): CacheStats {
    const mean = (of: 'filled' | 'evicted', row: number) => {
      let sum = 0;
      let layers = 0;
      for (const table of this.tables.values()) {
        layers += table.layers.length;
        for (let g = 0; g < table.groups; g++)
          sum += (table[of][table.lane(row, g)] * table.layers.length) / table.groups;
      }
      return layers === 0 ? 0 : sum / layers;
    };
    return {
      policy: this.policy,
      cacheLength: this.cacheLength,
      seen: this.#rows.map((row) => row.tokens.length),
      held: range(this.batch).map((row) => mean('filled', row)),
      evicted: range(this.batch).map((row) => mean('evicted', row)),
      bytes: this.memory().total,
    };
  }

  /**
   * All that a row is, as arrays over the cache's own memory: to be written out, or to be filled in by what was written out.
   * @internal
   */
  rowArrays(row: number): (PlaneData | Int32Array)[] {
    const arrays: (PlaneData | Int32Array)[] = [
      this.#rows[row].numbers,
      ...this.states.lanes(row),
      ...this.attached.lanes(row),
    ];
    for (const table of this.tables.values()) {
      const from = table.lane(row, 0);
      arrays.push(table.evicted.subarray(from, from + table.groups));
      for (let g = 0; g < table.groups; g++) arrays.push(...table.lanes(row, g));
      for (const l of table.layers)
        for (const group of this.buffers[l]!.groups) {
          const count = table.filled[table.lane(row, table.groups === 1 ? 0 : group)];
          arrays.push(...this.buffers[l]!.lanes(row, group, count));
        }
    }
    return arrays;
  }

  /**
   * Makes an empty row one of so many tokens and slots; {@link rowArrays} are then to be filled.
   * @param filled slots in use of each table's groups.
   * @param attached how many states it attends to.
   * @throws InputError for slots beyond the budget.
   * @internal
   */
  openRow(
    row: number,
    tokens: ArrayLike<number>,
    place: number,
    filled: readonly (readonly number[])[],
    attached = 0,
  ): void {
    this.clearRow(row);
    this.attached.open(row, attached);
    this.#rows[row].open(tokens, place);
    [...this.tables.values()].forEach((table, i) => {
      const most = Math.max(0, ...filled[i]);
      if (most > this.mostPerGroup(table.budget))
        throw new InputError(`${most} slots are more than a group of the ${this.policy} cache may hold`);
      if (most > table.capacity) this.#grow(table, most);
      filled[i].forEach((count, g) => {
        for (let slot = 0; slot < count; slot++) table.put(row, g, slot, 0, 0);
        table.filled[table.lane(row, g)] = count;
      });
    });
  }

  /** Whether another cache was made with the same options, as far as they say what a row holds. */
  #isLike(other: KVCache): boolean {
    const text = ({ options, bufferKind: buffer }: KVCache) => {
      const all = { ...options, buffer, batch: undefined, blockSize: undefined, rebase: undefined };
      return JSON.stringify(Object.entries(all).sort());
    };
    return text(other) === text(this);
  }

  #viewSource() {
    const cache = this;
    return {
      shape: this.shape,
      get buffers() {
        return cache.buffers;
      },
      get needCount() {
        return cache.needs.length;
      },
      needRange: (need: number, fresh: number) => this.needRange(this.needs[need], fresh),
      numbers: (row: number) => this.#rows[row].numbers,
    };
  }

  #appendRow(table: SlotTable, row: number, chunk: ChunkOutputs): void {
    const view = this.#view;
    view.load(table, row, chunk, this.#rows[row], this.#order[table.layers[0]]);
    this.observe(view);
    hideUnseen(view);
    const before = view.groups.map((group) => group.kept);
    if (this.overflows(view)) {
      this.select(view);
      if (this.overflows(view))
        throw new GraphError(`the policy ${this.policy} leaves more than the budget of ${view.budget} slots`);
    }
    const after = view.groups.map((group) => group.kept);
    const most = Math.max(...after);
    if (most > table.capacity) this.#grow(table, most);
    const target = this.#target(table, row);
    view.groups.forEach((group, g) => {
      table.evicted[table.lane(row, g)] += before[g] - after[g];
      placeGroup(target, view, group, after[g]);
    });
    if (table.capacity > table.budget) this.#shrink(table);
  }

  /** Gives memory back that was needed before the policy cut a layer down. */
  #shrink(table: SlotTable): void {
    const most = Math.max(...table.filled);
    const capacity = Math.ceil(most / this.#block) * this.#block;
    if (capacity + this.#block < table.capacity) this.#setCapacity(table, capacity);
  }

  #target(table: SlotTable, row: number): PlacementTarget {
    const { buffers } = this;
    return { table, buffers, undo: this.#undo!.get(table)!, order: this.#order, place: this.#rows[row].place };
  }

  /**
   * Grows a class in whole blocks. Where that needs new memory, there will be some for what is known to come, and a half more, but
   * never for more than the budget.
   */
  #grow(table: SlotTable, slots: number): void {
    const most = this.mostPerGroup(table.budget);
    const blocks = Math.min(most, Math.ceil(slots / this.#block) * this.#block);
    const reserve = Math.min(most, Math.max(this.#expected, Math.ceil(1.5 * blocks)));
    this.#setCapacity(table, blocks, this.batch, reserve);
  }

  #setCapacity(table: SlotTable, capacity: number, batch = this.batch, reserve = capacity): void {
    table.resize(batch, capacity, reserve);
    for (const l of table.layers) this.buffers[l]!.resize(batch, capacity, reserve);
  }

  #own(): void {
    for (const table of this.tables.values()) table.own();
    for (const buffer of this.buffers) buffer?.own();
    this.states.own();
  }

  #slotsInOrder(layer: number, row: number, group: number): { slot: number; position: number }[] {
    const table = this.tables.get(this.classes[layer]);
    if (!table) return [];
    const g = table.groups === 1 ? 0 : group;
    const at = table.positions.at(row, g);
    const slots = range(table.filled[table.lane(row, g)]).map((slot) => ({
      slot,
      position: table.positions.data[at + slot],
    }));
    return slots.sort((a, b) => a.position - b.position);
  }

  #beginUndo(rows: readonly number[]): void {
    this.#undo ??= new Map(
      [...this.tables.values()].map((table) => [
        table,
        new TableUndo(
          table,
          table.layers.map((l) => this.buffers[l]!),
        ),
      ]),
    );
    for (const undo of this.#undo.values()) undo.begin(rows);
    this.states.begin(rows);
    for (const row of rows) this.#rows[row].begin();
  }

  #revert(row: number): void {
    this.#own();
    this.#takeBack(row);
    this.states.revert(row);
    this.#rows[row].revert();
  }

  /** Makes a row's slots what they were before the last chunk. */
  #takeBack(row: number): void {
    for (const [table, undo] of this.#undo!) {
      // Memory may have been given back since.
      const most = undo.slotsBefore(row);
      if (most > table.capacity) this.#grow(table, most);
      undo.revert(row);
    }
  }

  /** The first `count` tokens of a row's last chunk, to be taken in once more. */
  #part(chunk: ChunkOutputs, row: number, count: number): ChunkOutputs {
    if ((this.needs.length > 0 && !chunk.observed?.each) || this.needsQueries)
      throw new InputError(
        `the policy ${this.policy} has seen the last chunk's queries together, so only the whole chunk can be taken back`,
      );
    this.states.check(row, chunk, count);
    const tokens = chunk.tokens.map((ids, r) => (r === row ? range(count).map((i) => ids[i]) : []));
    return { ...chunk, tokens };
  }

  #checkTruncation(length: number, row: number): void {
    const refuse = (why: string): never => {
      throw new InputError(
        `row ${row} can't go back to ${length} of ${this.length(row)} tokens: ${why}; fork the cache before, or start anew`,
      );
    };
    if (this.scoredByLater) refuse(`the policy ${this.policy} has scored what it holds by later tokens`);
    if (!this.states.isEmpty) refuse('the model has recurrent states, which remember only the last chunk');
    if (this.place(row) !== this.length(row)) refuse('its tokens were moved');
    for (const table of this.tables.values())
      for (let g = 0; g < table.groups; g++) {
        const lane = table.lane(row, g);
        if (table.evicted[lane] > 0) refuse('tokens before it were evicted');
        const oldest = table.window === null ? 0 : Math.max(0, length + 1 - table.window);
        const at = table.positions.at(row, g);
        let seen = 0;
        for (let slot = 0; slot < table.filled[lane]; slot++) {
          const position = table.positions.data[at + slot];
          if (position >= oldest && position < length) seen++;
        }
        if (seen < length - oldest) refuse('a sliding window has moved on');
      }
  }

  /** Gives up the slots of positions from `length` on. */
  #drop(table: SlotTable, row: number, length: number): void {
    const target = { table, buffers: this.buffers };
    for (let g = 0; g < table.groups; g++) {
      const at = table.positions.at(row, g);
      let slots = table.filled[table.lane(row, g)];
      for (let slot = slots - 1; slot >= 0; slot--) {
        if (table.positions.data[at + slot] < length) continue;
        slots--;
        if (slot !== slots) moveSlot(target, row, g, slots, slot);
      }
      freeSlots(target, row, g, slots);
    }
  }
}

/** What a window hides from every later query goes first, whatever the policy. */
function hideUnseen({ shape, now, groups }: LayerView): void {
  if (shape.window === null) return;
  const oldest = now + 2 - shape.window;
  for (const { positions, keep, length } of groups)
    for (let j = 0; j < length; j++) if (positions[j] < oldest) keep[j] = 0;
}

/** The error of a cache that keeps everything. */
export function cacheFull(cacheLength: number, length: number, more: number): CacheFullError {
  return new CacheFullError(
    `the dense cache holds ${length} of ${cacheLength} tokens and can't take ${more} more; ` +
      'give it a larger cacheLength, shorten the prompt, or choose a policy that evicts (such as lastrec)',
  );
}
