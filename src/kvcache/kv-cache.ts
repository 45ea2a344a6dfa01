/**
 * @file The cache's base class: it owns the memory, knows which token each slot holds, and keeps within its budget.
 *
 * A step goes: `reserve` (may the chunk come?) → the graph attends to all that is held and to the chunk → `append` (the
 * chunk's keys and values come in; where that is more than the budget, the policy's `keep` says what stays).
 */
import { CacheFullError, InputError } from '../errors.ts';
import { Float32Buffer, type SlotBuffer } from './float32-buffer.ts';
import { type ClassMode, SlotTable, slotClass } from './slots.ts';

/** What of a model a cache has to know. */
export interface CacheShape {
  readonly nLayer: number;
  /** G: key/value heads, not query heads. */
  readonly nQueryGroups: number;
  /** D */
  readonly headSize: number;
  /** Per layer: its sliding window, or null. */
  readonly windows: readonly (number | null)[];
}

export interface CacheOptions {
  /** Slots that are held after a step, per layer, row and query group: the budget, in tokens. */
  readonly cacheLength: number;
  /** Rows of the batch; 1 unless stated. */
  readonly batch?: number;
  /** Slots by which the buffers grow; 64 unless stated. */
  readonly blockSize?: number;
}

/** What the graph made of one chunk. */
export interface ChunkOutputs {
  /** Tokens of each row; a row may have fewer than the chunk is long (the rest is padding, and is not stored). */
  readonly tokens: readonly ArrayLike<number>[];
  /** T: length of the chunk. */
  readonly length: number;
  /** [2·L·B, G, T, D]: keys and values of layer 0, of layer 1, … */
  readonly present: Float32Array;
}

/** What may leave when a table overflows: `n` slots that are held, then the row's new tokens. */
export interface Candidates {
  readonly table: SlotTable;
  readonly row: number;
  readonly group: number;
  /** Token positions of all candidates; those held come first, in the order of their slots. */
  readonly positions: ArrayLike<number>;
  /** How many of the candidates are held already. */
  readonly held: number;
  /** How many may stay. */
  readonly budget: number;
  /** Position of the newest token. */
  readonly now: number;
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
  /** Bytes of positions and scores. */
  readonly bookkeeping: number;
  readonly total: number;
  /** Most that keys and values can ever take under this budget. */
  readonly limit: number;
}

const BLOCK = 64;

export abstract class KVCache {
  /** Name of the policy. */
  abstract readonly policy: string;
  readonly shape: CacheShape;
  readonly cacheLength: number;
  readonly batch: number;
  /** Which layers share their positions. */
  readonly mode: ClassMode;
  /** Per layer: name of its table. */
  readonly classes: readonly string[];
  readonly tables: ReadonlyMap<string, SlotTable>;
  readonly buffers: readonly SlotBuffer[];
  /** Tokens seen so far, per row. */
  readonly tokens: number[][];
  readonly #block: number;

  /**
   * @param mode which layers share their positions.
   * @throws InputError for a cacheLength or batch that is not a whole number from 1 on.
   */
  constructor(shape: CacheShape, options: CacheOptions, mode: ClassMode = 'kind') {
    this.shape = shape;
    this.mode = mode;
    this.cacheLength = wholeNumber('cacheLength', options.cacheLength);
    this.batch = wholeNumber('batch', options.batch ?? 1);
    this.#block = wholeNumber('blockSize', options.blockSize ?? BLOCK);
    this.classes = shape.windows.map((window, l) => slotClass(window, l, mode));
    const tables = new Map<string, SlotTable>();
    shape.windows.forEach((window, l) => {
      if (!tables.has(this.classes[l]))
        tables.set(this.classes[l], new SlotTable(this.batch, 1, this.budgetOf(window), window));
    });
    this.tables = tables;
    this.buffers = shape.windows.map(() => new Float32Buffer(this.batch, shape.nQueryGroups, shape.headSize));
    this.tokens = Array.from({ length: this.batch }, () => []);
  }

  /** Slots of a layer. A layer with a window w never needs more than the w - 1 tokens before the next one. */
  protected budgetOf(window: number | null): number {
    return window === null ? this.cacheLength : Math.max(1, Math.min(this.cacheLength, window - 1));
  }

  /** Which candidates stay: 1 or 0 for each, at most `budget` ones. Called only where they are more than the budget. */
  protected abstract keep(candidates: Candidates): Uint8Array;

  /** Number of tokens that a row has seen; the position of its next token. */
  length(row = 0): number {
    return this.tokens[row].length;
  }

  /**
   * Says whether a chunk may come, before anything is computed for it.
   * @throws CacheFullError where the policy keeps everything and there is no room.
   */
  reserve(_counts: readonly number[]): void {}

  /** Takes the chunk's keys and values in. */
  append(chunk: ChunkOutputs): void {
    for (const [name, table] of this.tables) {
      const layers = this.classes.flatMap((c, l) => (c === name ? [l] : []));
      this.#makeRoom(table, layers, chunk);
      for (let row = 0; row < this.batch; row++)
        for (let group = 0; group < table.groups; group++) this.#place(table, layers, row, group, chunk);
    }
    chunk.tokens.forEach((tokens, row) => {
      for (let i = 0; i < tokens.length; i++) this.tokens[row].push(tokens[i]);
    });
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    for (const table of this.tables.values()) {
      table.filled.fill(0);
      table.evicted.fill(0);
      table.resize(0);
    }
    for (const buffer of this.buffers) buffer.resize(0);
    for (const row of this.tokens) row.length = 0;
  }

  /** Positions of the tokens that a layer holds for a row and group, ascending. */
  tokenPositions(layer: number, row = 0, group = 0): number[] {
    const table = this.tables.get(this.classes[layer])!;
    const g = table.groups === 1 ? 0 : group;
    const at = table.offset(row, g);
    const filled = table.filled[row * table.groups + g];
    return [...table.positions.subarray(at, at + filled)].sort((a, b) => a - b);
  }

  memory(): CacheMemory {
    const keysAndValues = this.buffers.reduce((sum, buffer) => sum + buffer.bytes, 0);
    let bookkeeping = this.tokens.reduce((sum, row) => sum + 8 * row.length, 0);
    for (const table of this.tables.values()) bookkeeping += table.positions.byteLength + table.filled.byteLength;
    const slots = this.classes.reduce((sum, name) => sum + this.tables.get(name)!.budget, 0);
    const { nQueryGroups, headSize } = this.shape;
    const limit = 2 * 4 * this.batch * nQueryGroups * headSize * slots;
    return { keysAndValues, bookkeeping, total: keysAndValues + bookkeeping, limit };
  }

  stats(): CacheStats {
    const seen = this.tokens.map((row) => row.length);
    const mean = (of: 'filled' | 'evicted', row: number) => {
      let sum = 0;
      for (const name of this.classes) {
        const table = this.tables.get(name)!;
        for (let g = 0; g < table.groups; g++) sum += table[of][row * table.groups + g] / table.groups;
      }
      return sum / this.classes.length;
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

  /** Grows the buffers of a class, in whole blocks, for what will be held after the chunk. */
  #makeRoom(table: SlotTable, layers: readonly number[], chunk: ChunkOutputs): void {
    let wanted = 0;
    for (let row = 0; row < this.batch; row++)
      for (let g = 0; g < table.groups; g++)
        wanted = Math.max(wanted, table.filled[row * table.groups + g] + chunk.tokens[row].length);
    wanted = Math.min(wanted, table.budget);
    if (wanted <= table.capacity) return;
    const capacity = Math.min(table.budget, Math.ceil(wanted / this.#block) * this.#block);
    table.resize(capacity);
    for (const l of layers) this.buffers[l].resize(capacity);
  }

  #place(table: SlotTable, layers: readonly number[], row: number, group: number, chunk: ChunkOutputs): void {
    const count = chunk.tokens[row].length;
    if (count === 0) return;
    const index = row * table.groups + group;
    const held = table.filled[index];
    const at = table.offset(row, group);
    const first = this.tokens[row].length;
    const targets = new Int32Array(count).fill(-1);
    if (held + count <= table.budget) {
      for (let t = 0; t < count; t++) targets[t] = held + t;
    } else {
      const positions = new Float64Array(held + count);
      for (let j = 0; j < held; j++) positions[j] = table.positions[at + j];
      for (let t = 0; t < count; t++) positions[held + t] = first + t;
      const candidates = { table, row, group, positions, held, budget: table.budget, now: first + count - 1 };
      this.#targets(this.#survivors(candidates), held, table.budget, targets);
    }
    let filled = held;
    for (let t = 0; t < count; t++) {
      if (targets[t] < 0) continue;
      table.positions[at + targets[t]] = first + t;
      filled = Math.max(filled, targets[t] + 1);
    }
    table.filled[index] = filled;
    const groups = table.groups === 1 ? range(this.shape.nQueryGroups) : [group];
    for (const layer of layers) for (const g of groups) this.#store(layer, row, g, targets, chunk);
  }

  /** What the window hides from every later query goes first; if that is not enough, the policy decides about the rest. */
  #survivors(all: Candidates): Uint8Array {
    const { window } = all.table;
    const count = (n: number) => {
      all.table.evicted[all.row * all.table.groups + all.group] += n - all.budget;
    };
    if (window === null) {
      count(all.positions.length);
      return this.keep(all);
    }
    const oldest = all.now + 2 - window;
    const visible = range(all.positions.length).filter((j) => all.positions[j] >= oldest);
    const keep = new Uint8Array(all.positions.length);
    if (visible.length <= all.budget) {
      for (const j of visible) keep[j] = 1;
      return keep;
    }
    count(visible.length);
    const positions = Float64Array.from(visible, (j) => all.positions[j]);
    const held = visible.filter((j) => j < all.held).length;
    const chosen = this.keep({ ...all, positions, held });
    visible.forEach((j, i) => {
      keep[j] = chosen[i];
    });
    return keep;
  }

  /** New tokens that stay take the free slots first, then those that were given up, in ascending order. */
  #targets(keep: Uint8Array, held: number, budget: number, targets: Int32Array): void {
    let given = 0;
    let free = held;
    for (let t = 0; t < targets.length; t++) {
      if (!keep[held + t]) continue;
      if (free < budget) {
        targets[t] = free++;
        continue;
      }
      while (given < held && keep[given]) given++;
      targets[t] = given++;
    }
  }

  /** Copies the rows of one layer and group; runs of consecutive slots go in one piece. */
  #store(layer: number, row: number, group: number, targets: Int32Array, chunk: ChunkOutputs): void {
    const { nQueryGroups: G, headSize: D } = this.shape;
    const T = chunk.length;
    const at = (which: number) => (((2 * layer + which) * this.batch + row) * G + group) * T * D;
    const [keyAt, valueAt] = [at(0), at(1)];
    for (let t = 0; t < targets.length; ) {
      if (targets[t] < 0) {
        t++;
        continue;
      }
      let run = 1;
      while (t + run < targets.length && targets[t + run] === targets[t] + run) run++;
      this.buffers[layer].write(row, group, targets[t], run, chunk.present, keyAt + t * D, valueAt + t * D);
      t += run;
    }
  }
}

/** @throws InputError */
export function wholeNumber(name: string, value: number, min = 1): number {
  if (!Number.isSafeInteger(value) || value < min)
    throw new InputError(`${name} must be a whole number of at least ${min}, but is ${value}`);
  return value;
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** The error of a cache that keeps everything. */
export function cacheFull(cacheLength: number, length: number, more: number): CacheFullError {
  return new CacheFullError(
    `the dense cache holds ${length} of ${cacheLength} tokens and can't take ${more} more; ` +
      'give it a larger cacheLength, shorten the prompt, or choose a policy that evicts (such as lastrec)',
  );
}
