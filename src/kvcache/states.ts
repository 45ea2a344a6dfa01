/**
 * @file What a cache keeps besides slots: the states of recurrent layers, and keys and values that were attached to a row (those
 * of an image, say), which never change. Nothing of it is ever evicted.
 */
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import { Plane } from './buffers/plane.ts';
import type { ChunkOutputs } from './chunk.ts';
import type { CacheShape } from './shape.ts';

/** Arrays as the graph reads them. */
export interface StateInput {
  readonly name: string;
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

/** States of recurrent layers: zeros, until a chunk has come. */
export class StateTable {
  readonly #shapes: readonly { readonly name: string; readonly dims: readonly number[] }[];
  readonly #planes: readonly Plane<Float32Array>[];
  /** As the last chunk found them. */
  readonly #before: readonly Plane<Float32Array>[];

  constructor(batch: number, { states = [] }: Pick<CacheShape, 'states'>) {
    this.#shapes = states;
    const make = () =>
      states.map(({ dims }) => {
        const plane = new Plane(
          Float32Array,
          batch,
          1,
          dims.reduce((a, b) => a * b, 1),
        );
        plane.resize(batch, 1);
        return plane;
      });
    this.#planes = make();
    this.#before = make();
  }

  get isEmpty(): boolean {
    return this.#planes.length === 0;
  }

  get bytes(): number {
    return this.#planes.reduce((sum, plane) => sum + plane.bytes, 0);
  }

  /** Of what it takes to take the last chunk back. */
  get undoBytes(): number {
    return this.#before.reduce((sum, plane) => sum + plane.bytes, 0);
  }

  /** [B, ...dims] each. */
  inputs(): StateInput[] {
    return this.#shapes.map(({ name, dims }, i) => ({
      name,
      data: this.#planes[i].data,
      dims: [this.#planes[i].batch, ...dims],
    }));
  }

  /** A chunk begins for some rows. */
  begin(rows: readonly number[]): void {
    this.#planes.forEach((plane, i) => {
      for (const row of rows) this.#before[i].copyRow(plane, row, row);
    });
  }

  /** Takes a chunk's states over. @throws InputError where they are not known after so many tokens. */
  advance(rows: readonly number[], chunk: ChunkOutputs): void {
    this.#planes.forEach((plane, i) => {
      const { times, values } = chunk.states!;
      const next = values.get(this.#shapes[i].name)!;
      for (const row of rows) {
        const at = times[row].indexOf(chunk.tokens[row].length);
        const from = (row * times[row].length + at) * plane.width;
        plane.data.set(next.subarray(from, from + plane.width), plane.at(row, 0));
      }
    });
  }

  /** @throws InputError where a row's states after `count` of its chunk's tokens are not known. */
  check(row: number, chunk: ChunkOutputs, count: number): void {
    if (!this.isEmpty && !chunk.states?.times[row].includes(count))
      throw new InputError(
        "the model's recurrent states are known only at the end of the last chunk, so only the whole chunk can be taken back; " +
          'run the step with eachQuery',
      );
  }

  /** Makes a row what it was before the last chunk. */
  revert(row: number): void {
    this.#planes.forEach((plane, i) => {
      plane.copyRow(this.#before[i], row, row);
    });
  }

  clearRow(row: number): void {
    for (const plane of this.#planes) plane.wipe(row, 0, 0, 1);
  }

  setBatch(batch: number): void {
    for (const plane of [...this.#planes, ...this.#before]) plane.resize(batch, 1);
  }

  own(): void {
    for (const plane of this.#planes) plane.own();
  }

  copyRow(other: StateTable, from: number, to: number): void {
    this.#planes.forEach((plane, i) => {
      plane.copyRow(other.#planes[i], from, to);
    });
  }

  /** Takes the content of another over; the memory is shared until one of them writes. */
  share(other: StateTable): void {
    this.#planes.forEach((plane, i) => {
      plane.share(other.#planes[i]);
    });
  }

  /** A row's numbers, over this memory. */
  lanes(row: number): Float32Array[] {
    return this.#planes.map((plane) => plane.data.subarray(plane.at(row, 0), plane.at(row, 0, 1)));
  }
}

/** Keys and values that were attached to rows, by layer. */
export class AttachedTable {
  readonly #layers: readonly number[];
  readonly #headSize: number;
  /** Keys and values of the first layer, of the second, … [B, G, S, D]. */
  readonly #planes: readonly Plane<Float32Array>[];
  /** Per row: how many states it may attend to. */
  #lengths: Int32Array;

  constructor(batch: number, { cross = [], nQueryGroups, headSize }: CacheShape) {
    this.#layers = cross;
    this.#headSize = headSize;
    this.#planes = cross.flatMap(() => range(2).map(() => new Plane(Float32Array, batch, nQueryGroups, headSize)));
    this.#lengths = new Int32Array(batch);
  }

  /** Whether any row has something attached. */
  get any(): boolean {
    return this.#lengths.some((length) => length > 0);
  }

  get bytes(): number {
    return this.#planes.reduce((sum, plane) => sum + plane.bytes, 0);
  }

  /** S: states of the row that has most of them. */
  get capacity(): number {
    return this.#planes[0]?.capacity ?? 0;
  }

  length(row: number): number {
    return this.#lengths[row];
  }

  /** [B, G, 1, S, D] each. */
  inputs(): StateInput[] {
    return this.#planes.map((plane, i) => ({
      name: `${i % 2 === 0 ? 'k' : 'v'}.${this.#layers[i >> 1]}`,
      data: plane.data,
      dims: [plane.batch, plane.groups, plane.capacity, plane.width],
    }));
  }

  /**
   * Attaches states to a row, in place of what it had.
   * @param values [2·layers, G, count, D]
   */
  attach(row: number, values: Float32Array, count: number): void {
    this.open(row, count);
    const lane = count * this.#headSize;
    this.#planes.forEach((plane, i) => {
      for (let group = 0; group < plane.groups; group++) {
        const from = (i * plane.groups + group) * lane;
        plane.data.set(values.subarray(from, from + lane), plane.at(row, group));
      }
    });
  }

  /** Makes room for `count` states of a row. */
  open(row: number, count: number): void {
    this.own();
    this.clearRow(row);
    if (count > 0 && this.#layers.length === 0)
      throw new InputError('this model attends to nothing but its own tokens: there is nothing to attach states to');
    const most = Math.max(count, ...this.#lengths);
    for (const plane of this.#planes) plane.resize(plane.batch, most);
    this.#lengths[row] = count;
  }

  clearRow(row: number): void {
    for (const plane of this.#planes)
      for (let group = 0; group < plane.groups; group++) plane.wipe(row, group, 0, plane.capacity);
    this.#lengths[row] = 0;
  }

  setBatch(batch: number): void {
    for (const plane of this.#planes) plane.resize(batch, plane.capacity);
    const lengths = new Int32Array(batch);
    lengths.set(this.#lengths.subarray(0, batch));
    this.#lengths = lengths;
  }

  own(): void {
    for (const plane of this.#planes) plane.own();
  }

  copyRow(other: AttachedTable, from: number, to: number): void {
    if (other === this && from === to) return;
    const count = other.#lengths[from];
    const values = this.#planes.map((_, i) => other.#lane(i, from));
    this.open(to, count);
    this.#planes.forEach((plane, i) => {
      for (let group = 0; group < plane.groups; group++) plane.data.set(values[i][group], plane.at(to, group));
    });
  }

  share(other: AttachedTable): void {
    this.#planes.forEach((plane, i) => {
      plane.share(other.#planes[i]);
    });
    this.#lengths = other.#lengths.slice();
  }

  /** A row's numbers, over this memory. */
  lanes(row: number): Float32Array[] {
    return this.#planes.flatMap((_, i) => this.#lane(i, row));
  }

  /** Of one plane: group by group. */
  #lane(i: number, row: number): Float32Array[] {
    const plane = this.#planes[i];
    return range(plane.groups).map((group) =>
      plane.data.subarray(plane.at(row, group), plane.at(row, group, this.#lengths[row])),
    );
  }
}
