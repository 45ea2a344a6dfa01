/**
 * @file The sum of the directions k / ‖k‖ of the keys that each group of a row holds. It changes with the slots that
 * come and go, so that a step reads those keys only.
 */
import type { SlotBuffer } from '../buffers/slot-buffer.ts';
import type { GroupView } from '../policy/group-view.ts';
import { addDirection, dotAt, lengthOf, Scratch } from '../policy/vectors.ts';
import type { LayerView } from '../policy/view.ts';
import type { CacheShape } from '../shape.ts';
import type { SlotTable } from '../slots/slots.ts';

export class KeySums {
  /** Numbers of a row: of each layer and group, for how many slots the sum stands, and the sum [keySize]. */
  readonly size: number;
  readonly #buffers: readonly (SlotBuffer | null)[];
  /** By layer: where its numbers begin. */
  readonly #starts: readonly number[];
  readonly #scratch = new Scratch();

  /** @param buffers by layer. */
  constructor({ layers }: CacheShape, buffers: readonly (SlotBuffer | null)[]) {
    let size = 0;
    this.#starts = layers.map(({ slots, groups, keySize }) => {
      const start = size;
      if (slots) size += groups * (keySize + 1);
      return start;
    });
    this.size = size;
    this.#buffers = buffers;
  }

  /**
   * Where a group's sum begins among the row's numbers. It is made anew where slots were freed or changed otherwise
   * than by a chunk.
   * @param table of one layer.
   */
  at(numbers: Float64Array, table: SlotTable, row: number, group: number): number {
    const [layer] = table.layers;
    const { keys } = this.#buffers[layer]!;
    const from = this.#starts[layer] + group * (keys.size + 1) + 1;
    const held = table.filled[table.groupIndex(row, group)];
    if (numbers[from - 1] === held) return from;
    const key = this.#scratch.vector(keys.size);
    numbers.fill(0, from, from + keys.size);
    for (let slot = 0; slot < held; slot++) {
      keys.read(row, group, slot, key);
      addDirection(numbers, from, key, 1);
    }
    numbers[from - 1] = held;
    return from;
  }

  /** Fills `alongMean` of a layer's groups. */
  observe(layer: LayerView, table: SlotTable, numbers: Float64Array): void {
    const { row, keySize: D } = layer;
    const key = this.#scratch.vector(D);
    const sum = this.#scratch.sums(D);
    for (const group of layer.groups) {
      const from = this.at(numbers, table, row, group.index);
      for (let i = 0; i < D; i++) sum[i] = numbers[from + i];
      for (let j = group.held; j < group.length; j++) {
        group.readExactKey(j, key);
        addDirection(sum, 0, key, 1);
      }
      if (group.alongMean.length < group.length) group.alongMean = new Float64Array(group.positions.length);
      const scale = 1 / (lengthOf(sum) || 1);
      if (!takeProducts(layer, table, group, scale)) this.#multiply(group, sum, scale);
    }
  }

  /** Counts what comes and goes with a chunk, before the slots change. */
  settle(layer: LayerView, table: SlotTable, numbers: Float64Array): void {
    const key = this.#scratch.vector(layer.keySize);
    for (const group of layer.groups) {
      const { keep, gone, held, length, kept } = group;
      const from = this.at(numbers, table, layer.row, group.index);
      const add = (j: number, sign: 1 | -1) => {
        group.readKey(j, key);
        addDirection(numbers, from, key, sign);
      };
      for (const j of gone) if (j < held) add(j, -1);
      for (let j = held; j < length; j++) if (keep[j] === 1) add(j, 1);
      numbers[from - 1] = kept;
    }
  }

  /** The products of all keys, of which the engine has given none. */
  #multiply(group: GroupView, sum: Float64Array, scale: number): void {
    const { length, held, alongMean } = group;
    const D = sum.length;
    const key = this.#scratch.vector(D);
    const keys = this.#scratch.growing(length * D);
    group.readKeys(keys);
    for (let j = held; j < length; j++) {
      group.readExactKey(j, key);
      keys.set(key, j * D);
    }
    // As precise as an engine's: which of them made a product is not to be seen in a score.
    for (let j = 0; j < length; j++) alongMean[j] = Math.fround(dotAt(keys, j * D, sum)) * scale;
  }
}

/**
 * Takes the engine's products, as far as they are of this row: in a shorter row padding was counted.
 * @returns whether there are any.
 */
function takeProducts(
  { chunk, row, newTokens }: LayerView,
  table: SlotTable,
  group: GroupView,
  scale: number,
): boolean {
  const { part, index } = table.partOf(group.index);
  const data = chunk.keyProducts?.get(part.name);
  if (!data || newTokens !== chunk.length) return false;
  const lines = part.groups.length;
  const columns = data.length / (chunk.tokens.length * lines);
  const at = (row * lines + index) * columns;
  const chunkAt = at + columns - newTokens - group.held;
  const { held, length, alongMean } = group;
  for (let j = 0; j < held; j++) alongMean[j] = data[at + j] * scale;
  for (let j = held; j < length; j++) alongMean[j] = data[chunkAt + j] * scale;
  return true;
}
