/**
 * @file The cache's base class: it owns the memory, knows which token each slot holds, and keeps within its budget.
 *
 * A step goes: `reserve` (may the chunk come?) → the graph attends to all that is held and to the chunk → `append` (the
 * chunk's keys and values come in; the policy sees the weights, and says what stays where that is more than the budget).
 */
import { CacheFullError, InputError } from '../errors.ts';
import { range, wholeNumber } from '../numbers.ts';
import type { SlotBuffer } from './buffers/slot-buffer.ts';
import { BUFFERS, type BufferKind } from './buffers.ts';
import type { ChunkOutputs } from './chunk.ts';
import { type ClassMode, SlotTable, slotClass } from './slots.ts';
import { TokenList } from './token-list.ts';
import { groupsOf, TableUndo } from './undo.ts';
import { LayerView, type ViewSource } from './view.ts';

/** What of a model a cache has to know. */
export interface CacheShape {
  readonly nLayer: number;
  /** H: query heads. */
  readonly nHead: number;
  /** G: key/value heads; slots are for these, not for query heads. */
  readonly nQueryGroups: number;
  /** D */
  readonly headSize: number;
  /** Per layer: whether it holds keys and values, and its sliding window (null: it sees everything). */
  readonly layers: readonly LayerShape[];
}

export interface LayerShape {
  readonly slots: boolean;
  readonly window: number | null;
}

export interface CacheOptions {
  /** Slots that are held after a step, per layer, row and query group: the budget, in tokens. */
  readonly cacheLength: number;
  /** Rows of the batch; 1 unless stated. */
  readonly batch?: number;
  /** Slots by which the memory grows; 64 unless stated. */
  readonly blockSize?: number;
  /** How keys and values are stored; `float32` unless stated. */
  readonly buffer?: BufferKind;
}

/** What a policy may ask the graph for, besides keys and values. */
export type Need =
  /** Attention weights summed over all of the chunk's queries. */
  | 'sums'
  /** Those of the chunk's last query. */
  | 'last-query';

/** How a policy wants its slots laid out. */
export interface CacheLayout {
  /** `kind`: all layers hold the same positions; `layer`: each decides for itself. */
  readonly mode: ClassMode;
  /** Whether each query group decides for itself. */
  readonly perGroup: boolean;
  /** Numbers that the policy keeps for each slot; the first is its score. */
  readonly columns: number;
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
  /** Bytes allocated for keys and values. */
  readonly keysAndValues: number;
  /** Bytes of positions and scores, and of what it takes to take the last chunk back. */
  readonly bookkeeping: number;
  readonly total: number;
  /** Most that keys and values can ever take under this budget. */
  readonly limit: number;
}

/** One sequence. */
interface Row {
  /** Token ids seen, those evicted included. */
  tokens: TokenList;
  /** Its last chunk, and the tokens seen before: as far back {@link KVCache.truncate} always reaches. */
  last: ChunkOutputs | null;
  chunkStart: number;
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
  /** The last chunk of a prompt should have this many tokens; 0: no matter. */
  readonly promptTail: number = 0;
  tables: ReadonlyMap<string, SlotTable>;
  buffers: readonly (SlotBuffer | null)[];
  readonly #block: number;
  #rows: Row[];
  #undo: Map<SlotTable, TableUndo> | null = null;
  readonly #view = new LayerView();

  /** @throws InputError for options out of range. */
  constructor(shape: CacheShape, options: CacheOptions, layout: CacheLayout) {
    this.shape = shape;
    this.options = options;
    this.mode = layout.mode;
    this.cacheLength = wholeNumber('cacheLength', options.cacheLength);
    const batch = wholeNumber('batch', options.batch ?? 1);
    this.#block = wholeNumber('blockSize', options.blockSize ?? BLOCK);
    const kind = options.buffer ?? 'float32';
    if (!Object.hasOwn(BUFFERS, kind))
      throw new InputError(`there is no cache buffer "${kind}"; there are ${Object.keys(BUFFERS).join(', ')}`);
    this.bufferKind = kind;
    this.classes = shape.layers.map(({ slots, window }, l) => (slots ? slotClass(window, l, layout.mode) : ''));
    const tables = new Map<string, SlotTable>();
    for (const [l, name] of this.classes.entries()) {
      if (name === '' || tables.has(name)) continue;
      const { window } = shape.layers[l];
      const budget = layout.budget?.(l) ?? this.cacheLength;
      const spec = {
        layers: this.classes.flatMap((c, layer) => (c === name ? [layer] : [])),
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
      slots ? BUFFERS[kind].create(batch, shape.nQueryGroups, shape.headSize) : null,
    );
    this.#rows = Array.from({ length: batch }, newRow);
  }

  /** Rows. */
  get batch(): number {
    return this.#rows.length;
  }

  /** Number of tokens that a row has seen; the position of its next token. */
  length(row = 0): number {
    return this.#rows[row].tokens.length;
  }

  /** The tokens that a row has seen, those evicted included. */
  tokens(row = 0): number[] {
    return this.#rows[row].tokens.toArray();
  }

  /**
   * Says whether a chunk may come, before anything is computed for it.
   * @throws CacheFullError where the policy keeps everything and there is no room.
   */
  reserve(_counts: readonly number[]): void {}

  /** Looks at a layer after a chunk, before anything has to go: the place to bring scores up to date. */
  protected observe(_view: LayerView): void {}

  /** Clears `keep` of the candidates that go, so that each group has no more than the budget. Called where one has more. */
  protected abstract select(view: LayerView): void;

  /** Whether a layer holds more than it may. */
  protected overflows(view: LayerView): boolean {
    return view.groups.some((group) => group.kept > view.budget);
  }

  /** Which of `fresh` queries count for a need. */
  protected queriesOf(need: Need, fresh: number): readonly [number, number] {
    return need === 'last-query' ? [fresh - 1, fresh] : [0, fresh];
  }

  /**
   * How much each of a chunk's queries counts for each need.
   * @returns [needs][fresh]
   */
  queryWeights(fresh: number): Float32Array[] {
    return this.needs.map((need) => {
      const [from, to] = this.queriesOf(need, fresh);
      return new Float32Array(fresh).fill(1, from, to);
    });
  }

  /** Takes the chunk's keys and values in. */
  append(chunk: ChunkOutputs): void {
    const rows = range(this.batch).filter((row) => chunk.tokens[row].length > 0);
    this.#beginUndo(rows);
    let layers = 0;
    const order = this.buffers.map((buffer) => (buffer ? layers++ : -1));
    for (const table of this.tables.values()) {
      table.own();
      for (const l of table.layers) this.buffers[l]!.own();
      for (const row of rows) this.#appendRow(table, row, chunk, order);
    }
    for (const r of rows) {
      const row = this.#rows[r];
      row.last = chunk;
      row.chunkStart = row.tokens.length;
      row.tokens.push(chunk.tokens[r]);
    }
  }

  /**
   * Goes back to the first `length` tokens of a row. The last chunk can be taken back always, as if it had never come; what
   * lies further back only while nothing was evicted, under a policy that keeps no scores.
   * @throws InputError where that state can't be had back.
   */
  truncate(length: number, row = 0): void {
    wholeNumber('length', length, 0);
    const { tokens, chunkStart, last } = this.#rows[row];
    if (length === tokens.length) return;
    if (length > tokens.length)
      throw new InputError(`the row has seen ${tokens.length} tokens, and can't be cut to ${length}`);
    if (length >= chunkStart && last) {
      const keep = length - chunkStart;
      const partial = keep > 0 ? this.#part(last, row, keep) : null;
      this.#revert(row);
      if (partial) this.append(partial);
      return;
    }
    this.#checkTruncation(length, row);
    for (const table of this.tables.values()) this.#drop(table, row, length);
    this.#rows[row].tokens.truncate(length);
    this.#rows[row].last = null;
  }

  /**
   * A cache with the same content, which goes on by itself: the memory is shared until one of them writes. The last chunk
   * can be taken back in the original only.
   */
  fork(): this {
    const twin = this.recreate(this.batch);
    twin.tables = new Map([...this.tables].map(([name, table]) => [name, table.fork()]));
    twin.buffers = this.buffers.map((buffer) => buffer?.fork() ?? null);
    twin.#rows = this.#rows.map(({ tokens }) => ({ ...newRow(), tokens: tokens.clone() }));
    return twin;
  }

  /** An empty cache of the same kind and options. */
  recreate(batch = 1): this {
    return Reflect.construct(this.constructor, [this.shape, { ...this.options, batch }]) as this;
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    for (const table of this.tables.values()) {
      table.filled.fill(0);
      table.evicted.fill(0);
      table.resize(this.batch, 0);
    }
    for (const buffer of this.buffers) buffer?.resize(this.batch, 0);
    this.#rows = this.#rows.map(newRow);
    this.#undo = null;
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

  memory(): CacheMemory {
    const keysAndValues = this.buffers.reduce((sum, buffer) => sum + (buffer?.bytes ?? 0), 0);
    let bookkeeping = this.#rows.reduce((sum, row) => sum + row.tokens.bytes, 0);
    let limit = 0;
    for (const table of this.tables.values()) {
      bookkeeping += table.bytes + (this.#undo?.get(table)?.bytes ?? 0);
      for (const l of table.layers)
        limit += this.batch * this.shape.nQueryGroups * table.budget * this.buffers[l]!.slotBytes;
    }
    return { keysAndValues, bookkeeping, total: keysAndValues + bookkeeping, limit };
  }

  stats(): CacheStats {
    const seen = this.#rows.map((row) => row.tokens.length);
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
      seen,
      held: seen.map((_, row) => mean('filled', row)),
      evicted: seen.map((_, row) => mean('evicted', row)),
      bytes: this.memory().total,
    };
  }

  #appendRow(table: SlotTable, row: number, chunk: ChunkOutputs, order: readonly number[]): void {
    const view = this.#view;
    view.load(table, row, chunk, this.#rows[row].tokens.length, this.#source(table, chunk, order));
    this.observe(view);
    const gone = this.#hideUnseen(view);
    const before = view.groups.map((group) => group.kept);
    if (this.overflows(view)) this.select(view);
    const most = Math.max(...view.groups.map((group) => group.kept));
    if (most > table.capacity) this.#grow(table, most);
    view.groups.forEach((group, g) => {
      table.evicted[table.lane(row, g)] += before[g] - group.kept;
      this.#place(table, row, g, chunk, order, gone || group.kept < group.length);
    });
  }

  /** Grows a class's memory in whole blocks. */
  #grow(table: SlotTable, slots: number): void {
    const whole = Math.ceil(slots / this.#block) * this.#block;
    const capacity = Math.max(slots, Math.min(table.budget, whole));
    table.resize(this.batch, capacity);
    for (const l of table.layers) this.buffers[l]!.resize(this.batch, capacity);
  }

  /** What the window hides from every later query goes first, whatever the policy. Says whether anything went. */
  #hideUnseen(view: LayerView): boolean {
    if (view.window === null) return false;
    const oldest = view.now + 2 - view.window;
    let any = false;
    for (const { positions, keep, length } of view.groups)
      for (let j = 0; j < length; j++)
        if (positions[j] < oldest) {
          keep[j] = 0;
          any = true;
        }
    return any;
  }

  /**
   * Puts a group's survivors into the first slots: those held stay where they are, as far as that is among the first; the new
   * ones, and those held further behind, take the places that are free.
   */
  #place(table: SlotTable, row: number, g: number, chunk: ChunkOutputs, order: readonly number[], gaps: boolean): void {
    const group = this.#view.groups[g];
    const { held, length, keep } = group;
    const kept = group.kept;
    const lane = table.lane(row, g);
    for (let c = 0; c < table.columns; c++)
      table.state[c].data.set(group.columns[c].subarray(0, held), table.state[c].at(row, g));
    const undo = this.#undo!.get(table)!;
    if (gaps) for (let slot = kept; slot < held; slot++) undo.save(row, g, slot);
    let target = gaps ? 0 : held;
    const nextTarget = () => {
      while (target < held && keep[target] === 1) target++;
      return target++;
    };
    for (let j = kept; j < held; j++) {
      if (keep[j] === 0) continue;
      const to = nextTarget();
      undo.save(row, g, to);
      table.move(row, g, j, to);
      for (const l of table.layers)
        for (const G of groupsOf(table, g, this.buffers[l]!))
          this.buffers[l]!.copySlot(this.buffers[l]!, row, G, j, to);
    }
    for (let j = held; j < length; ) {
      if (keep[j] === 0) {
        j++;
        continue;
      }
      const first = nextTarget();
      undo.save(row, g, first);
      this.#put(table, row, g, first, j);
      let run = 1;
      // Neighbours go in one piece.
      while (j + run < length && keep[j + run] === 1 && (target >= held || keep[target] === 0)) {
        undo.save(row, g, target);
        this.#put(table, row, g, target, j + run);
        target++;
        run++;
      }
      this.#store(table, row, g, first, run, j - held, chunk, order);
      j += run;
    }
    if (kept < held) table.free(row, g, kept);
    table.filled[lane] = kept;
  }

  /** Says what candidate `j` of the group in view is in its new slot. */
  #put(table: SlotTable, row: number, g: number, slot: number, j: number): void {
    const { positions, columns } = this.#view.groups[g];
    table.put(row, g, slot, positions[j]);
    for (let c = 0; c < table.columns; c++) table.state[c].data[table.state[c].at(row, g, slot)] = columns[c][j];
  }

  /** Writes `count` new tokens, from the chunk's token `t` on, into consecutive slots of all layers of a table. */
  #store(
    table: SlotTable,
    row: number,
    g: number,
    slot: number,
    count: number,
    t: number,
    chunk: ChunkOutputs,
    order: readonly number[],
  ): void {
    const { headSize: D } = this.shape;
    for (const l of table.layers) {
      const buffer = this.buffers[l]!;
      for (const group of groupsOf(table, g, buffer)) {
        const [keyAt, valueAt] = this.#presentAt(chunk, order[l], row, group);
        buffer.write({ row, group, slot }, count, chunk.present, keyAt + t * D, valueAt + t * D);
      }
    }
  }

  /** Where the chunk's keys and values of a layer begin. */
  #presentAt(chunk: ChunkOutputs, nth: number, row: number, group: number): [number, number] {
    const { nQueryGroups: G, headSize: D } = this.shape;
    const batch = chunk.tokens.length;
    const at = (which: number) => (((2 * nth + which) * batch + row) * G + group) * chunk.length * D;
    return [at(0), at(1)];
  }

  #source(table: SlotTable, chunk: ChunkOutputs, order: readonly number[]): ViewSource {
    const { nHead, nQueryGroups, headSize: D } = this.shape;
    return {
      className: this.classes[table.layers[0]],
      buffers: this.buffers,
      nHead,
      nQueryGroups,
      needs: this.needs.length,
      queriesOf: (need, fresh) => this.queriesOf(this.needs[need], fresh),
      readFresh: (layer, row, group, t, which, out) => {
        const at = this.#presentAt(chunk, order[layer], row, group)[which === 'key' ? 0 : 1] + t * D;
        for (let i = 0; i < D; i++) out[i] = chunk.present[at + i];
      },
    };
  }

  #slotsInOrder(layer: number, row: number, group: number): { slot: number; position: number }[] {
    const table = this.tables.get(this.classes[layer]);
    if (!table) return [];
    const g = table.groups === 1 ? 0 : group;
    const at = table.positions.at(row, g);
    const slots = Array.from({ length: table.filled[table.lane(row, g)] }, (_, slot) => ({
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
  }

  #revert(row: number): void {
    for (const table of this.tables.values()) {
      table.own();
      for (const l of table.layers) this.buffers[l]!.own();
      this.#undo!.get(table)!.revert(row);
    }
    this.#rows[row].tokens.truncate(this.#rows[row].chunkStart);
    this.#rows[row].last = null;
  }

  /** The first `count` tokens of a row's last chunk, to be taken in once more. */
  #part(chunk: ChunkOutputs, row: number, count: number): ChunkOutputs {
    if (this.needs.length > 0 && !chunk.observed?.each)
      throw new InputError(
        `the policy ${this.policy} has seen the last chunk's queries together, so only the whole chunk can be taken back`,
      );
    const tokens = chunk.tokens.map((ids, r) => (r === row ? Array.from({ length: count }, (_, i) => ids[i]) : []));
    return { ...chunk, tokens };
  }

  #checkTruncation(length: number, row: number): void {
    const refuse = (why: string): never => {
      throw new InputError(
        `row ${row} can't go back to ${length} of ${this.length(row)} tokens: ${why}; fork the cache before, or start anew`,
      );
    };
    if (this.needs.length > 0) refuse(`the policy ${this.policy} has scored what it holds by later tokens`);
    for (const table of this.tables.values()) {
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
  }

  /** Gives up the slots of positions from `length` on. */
  #drop(table: SlotTable, row: number, length: number): void {
    table.own();
    for (const l of table.layers) this.buffers[l]!.own();
    for (let g = 0; g < table.groups; g++) {
      const lane = table.lane(row, g);
      const at = table.positions.at(row, g);
      let slots = table.filled[lane];
      for (let slot = slots - 1; slot >= 0; slot--) {
        if (table.positions.data[at + slot] < length) continue;
        slots--;
        if (slot === slots) continue;
        table.move(row, g, slots, slot);
        for (const l of table.layers)
          for (const group of groupsOf(table, g, this.buffers[l]!))
            this.buffers[l]!.copySlot(this.buffers[l]!, row, group, slots, slot);
      }
      table.free(row, g, slots);
    }
  }
}

const newRow = (): Row => ({ tokens: new TokenList(), last: null, chunkStart: 0 });

/** The error of a cache that keeps everything. */
export function cacheFull(cacheLength: number, length: number, more: number): CacheFullError {
  return new CacheFullError(
    `the dense cache holds ${length} of ${cacheLength} tokens and can't take ${more} more; ` +
      'give it a larger cacheLength, shorten the prompt, or choose a policy that evicts (such as lastrec)',
  );
}
