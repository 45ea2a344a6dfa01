/**
 * @file Keys and values of encoder states (of an image, say) that rows attend to. They never change, and are never
 * evicted.
 */
import { InputError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import { SlotArray } from '../buffers/slot-array.ts';
import type { CacheShape } from '../shape.ts';
import type { StateInput } from './recurrent-states.ts';

/** Keys and values of encoder states, by layer. */
export class CrossAttentionStates {
  readonly #layers: readonly number[];
  /** Keys and values of the first layer, of the second, … [B, G, S, size]. */
  readonly #arrays: readonly SlotArray<Float32Array>[];
  /** Per row: how many states it may attend to. */
  #lengths: Int32Array;

  constructor(batch: number, { cross = [] }: Pick<CacheShape, 'cross'>) {
    this.#layers = cross.map(({ layer }) => layer);
    this.#arrays = cross.flatMap(({ groups, keySize, valueSize }) =>
      [keySize, valueSize].map((size) => new SlotArray(Float32Array, batch, groups, size)),
    );
    this.#lengths = new Int32Array(batch);
  }

  /** Whether any row has states. */
  get any(): boolean {
    return this.#lengths.some((length) => length > 0);
  }

  get bytes(): number {
    return this.#arrays.reduce((sum, array) => sum + array.bytes, 0);
  }

  /** S: states of the row that has most of them. */
  get capacity(): number {
    return this.#arrays[0]?.capacity ?? 0;
  }

  length(row: number): number {
    return this.#lengths[row];
  }

  /** [B, G, S, size] each. */
  inputs(): StateInput[] {
    return this.#arrays.map((array, i) => ({
      name: `${i % 2 === 0 ? 'k' : 'v'}.${this.#layers[i >> 1]}`,
      data: array.data,
      dims: [array.batch, array.groups, array.capacity, array.width],
    }));
  }

  /**
   * Gives a row its states, in place of what it had.
   * @param values keys of the first layer [G, count, keySize], its values [G, count, valueSize], those of the second, …
   */
  set(row: number, values: Float32Array, count: number): void {
    this.open(row, count);
    let from = 0;
    for (const array of this.#arrays) {
      const size = count * array.width;
      for (let group = 0; group < array.groups; group++, from += size)
        array.data.set(values.subarray(from, from + size), array.at(row, group));
    }
  }

  /** Allocates `count` states of a row. */
  open(row: number, count: number): void {
    this.own();
    this.clearRow(row);
    if (count > 0 && this.#layers.length === 0)
      throw new InputError('this model attends to nothing but its own tokens: it has no cross-attention layers');
    const most = Math.max(count, ...this.#lengths);
    for (const array of this.#arrays) array.resize(array.batch, most);
    this.#lengths[row] = count;
  }

  clearRow(row: number): void {
    if (this.#lengths[row] === 0) return;
    this.own();
    for (const array of this.#arrays)
      for (let group = 0; group < array.groups; group++) array.wipe(row, group, 0, array.capacity);
    this.#lengths[row] = 0;
  }

  setBatch(batch: number): void {
    for (const array of this.#arrays) array.resize(batch, array.capacity);
    const lengths = new Int32Array(batch);
    lengths.set(this.#lengths.subarray(0, batch));
    this.#lengths = lengths;
  }

  own(): void {
    for (const array of this.#arrays) array.own();
  }

  copyRow(other: CrossAttentionStates, from: number, to: number): void {
    if (other === this && from === to) return;
    const count = other.#lengths[from];
    // Copies, not views, within one cache: making the rows shorter moves what lies behind.
    const views = this.#arrays.map((_, i) =>
      other.#groupViews(i, from).map((view) => (other === this ? view.slice() : view)),
    );
    this.open(to, count);
    this.#arrays.forEach((array, i) => {
      for (let group = 0; group < array.groups; group++) array.data.set(views[i][group], array.at(to, group));
    });
  }

  share(other: CrossAttentionStates): void {
    this.#arrays.forEach((array, i) => {
      array.share(other.#arrays[i]);
    });
    this.#lengths = other.#lengths.slice();
  }

  /** Views of a row's numbers, one for each array and group. */
  rowViews(row: number): Float32Array[] {
    return this.#arrays.flatMap((_, i) => this.#groupViews(i, row));
  }

  #groupViews(i: number, row: number): Float32Array[] {
    const array = this.#arrays[i];
    return range(array.groups).map((group) => array.slotView(row, group, this.#lengths[row]));
  }
}
