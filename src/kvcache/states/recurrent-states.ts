/**
 * @file The states of recurrent layers. Nothing of them is ever evicted.
 */
import { InputError } from '../../util/errors.ts';
import { product } from '../../util/numbers.ts';
import { SlotArray } from '../buffers/slot-array.ts';
import type { ChunkOutputs } from '../rows/chunk.ts';
import type { CacheShape, StateShape } from '../shape.ts';

/** Arrays as the graph reads them. */
export interface StateInput {
  readonly name: string;
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

/** One state: what it is now, and what it was before the last chunk. The two arrays change roles with every chunk. */
interface StatePair {
  now: SlotArray<Float32Array>;
  before: SlotArray<Float32Array>;
}

/** States of recurrent layers: zeros, until a chunk has come. */
export class RecurrentStates {
  readonly #shapes: readonly StateShape[];
  readonly #pairs: readonly StatePair[];

  constructor(batch: number, { states = [] }: Pick<CacheShape, 'states'>) {
    this.#shapes = states;
    const make = (dims: readonly number[]) => {
      const width = product(dims);
      const array = new SlotArray(Float32Array, batch, 1, width);
      array.resize(batch, 1);
      return array;
    };
    this.#pairs = states.map(({ dims }) => ({ now: make(dims), before: make(dims) }));
  }

  get isEmpty(): boolean {
    return this.#pairs.length === 0;
  }

  get bytes(): number {
    return this.#pairs.reduce((sum, { now }) => sum + now.bytes, 0);
  }

  /** Of what it takes to take the last chunk back. */
  get undoBytes(): number {
    return this.#pairs.reduce((sum, { before }) => sum + before.bytes, 0);
  }

  /** [B, ...dims] each. */
  inputs(): StateInput[] {
    return this.#shapes.map(({ name, dims }, i) => {
      const { now } = this.#pairs[i];
      return { name, data: now.data, dims: [now.batch, ...dims] };
    });
  }

  /**
   * Where the next states will be [B, ...dims]: an engine that computes one state a row may write them there, and hand
   * the same arrays to {@link advance}, which then copies nothing. What was there is the undo of the chunk before, so
   * the step must succeed.
   */
  targets(): ReadonlyMap<string, Float32Array> {
    for (const { before } of this.#pairs) before.own();
    return new Map(this.#shapes.map(({ name }, i) => [name, this.#pairs[i].before.data]));
  }

  /** Becomes a chunk's states. The other rows stay as they are, with what they were before their own last chunk. */
  advance(rows: readonly number[], chunk: ChunkOutputs): void {
    this.#pairs.forEach((pair, i) => {
      const { times, values } = chunk.states!;
      const source = values.get(this.#shapes[i].name)!;
      const { now, before: next } = pair;
      next.own();
      const { width } = next;
      if (source !== next.data)
        for (const row of rows) {
          const index = times[row].indexOf(chunk.tokens[row].length);
          const from = (row * times[row].length + index) * width;
          next.data.set(source.subarray(from, from + width), next.at(row, 0));
        }
      if (rows.length < now.batch) now.own();
      for (let row = 0; row < now.batch && rows.length < now.batch; row++)
        if (!rows.includes(row)) exchange(now.slotView(row, 0, 1), next.slotView(row, 0, 1));
      pair.now = next;
      pair.before = now;
    });
  }

  /** @throws InputError where a row's states after `count` of its chunk's tokens are not known. */
  check(row: number, chunk: ChunkOutputs, count: number): void {
    if (!this.isEmpty && !chunk.states?.times[row].includes(count))
      throw new InputError(
        "the model's recurrent states are known only at the end of the last chunk, so only the whole chunk can be taken back; " +
          'take all of it back, or fork the cache before',
      );
  }

  /** Makes a row what it was before the last chunk. */
  revert(row: number): void {
    for (const { now, before } of this.#pairs) {
      now.own();
      now.copyRow(before, row, row);
    }
  }

  clearRow(row: number): void {
    for (const { now } of this.#pairs) {
      now.own();
      now.wipe(row, 0, 0, 1);
    }
  }

  setBatch(batch: number): void {
    for (const { now, before } of this.#pairs) {
      now.resize(batch, 1);
      before.resize(batch, 1);
    }
  }

  own(): void {
    for (const { now } of this.#pairs) now.own();
  }

  copyRow(other: RecurrentStates, from: number, to: number): void {
    this.#pairs.forEach(({ now }, i) => {
      now.own();
      now.copyRow(other.#pairs[i].now, from, to);
    });
  }

  /** Becomes a copy of another; the memory is shared until one of them writes. */
  share(other: RecurrentStates): void {
    this.#pairs.forEach(({ now, before }, i) => {
      now.share(other.#pairs[i].now);
      before.resize(now.batch, 1);
    });
  }

  /** Views of a row's numbers, one for each state. */
  rowViews(row: number): Float32Array[] {
    return this.#pairs.map(({ now }) => now.slotView(row, 0, 1));
  }
}

function exchange(a: Float32Array, b: Float32Array): void {
  for (let i = 0; i < a.length; i++) {
    const x = a[i];
    a[i] = b[i];
    b[i] = x;
  }
}
