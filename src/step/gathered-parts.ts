/**
 * @file Inputs of a table whose slots a step gathers: where the slots of each part are, and which tokens they hold.
 * Groups with fewer slots than the longest of their part are filled up with empty ones.
 */
import { type StepTensor, tensorOf } from '../backends/types.ts';
import type { SlotArray } from '../kvcache/buffers/slot-array.ts';
import { EMPTY_SLOT, type SlotTable } from '../kvcache/slots/slots.ts';
import type { TablePart } from '../kvcache/slots/table-parts.ts';
import { INPUT } from '../ops/step-names.ts';

/** The inputs of one part. */
interface GatheredPart {
  readonly part: TablePart;
  /** Whether its slots may stand for several tokens. */
  readonly isMerged: boolean;
  /** [B, G, C] */
  index: StepTensor;
  slots: StepTensor;
  logTokens: StepTensor;
}

export class GatheredParts {
  readonly #table: SlotTable;
  readonly #parts: readonly GatheredPart[];
  /** The memory that indices were made for: it is another one once slots have moved. */
  #data: Float32Array | null = null;

  /** @param merged names of parts whose slots may stand for several tokens. */
  constructor(table: SlotTable, merged: ReadonlySet<string> | null) {
    this.#table = table;
    const none = tensorOf(new Float32Array(0), []);
    this.#parts = table.parts.map((part) => {
      const isMerged = merged?.has(part.name) ?? false;
      return { part, isMerged, index: none, slots: none, logTokens: none };
    });
  }

  /** Puts them among the inputs of a step. */
  bind(inputs: Record<string, StepTensor>): void {
    const { positions, slotState } = this.#table;
    if (this.#data !== positions.data) this.#layOut();
    this.#data = positions.data;
    for (const { part, isMerged, index, slots, logTokens } of this.#parts) {
      inputs[INPUT.slotIndex(part.name)] = index;
      this.#copy(positions, part, slots, EMPTY_SLOT);
      inputs[INPUT.slots(part.name)] = slots;
      if (!isMerged) continue;
      this.#copy(slotState[0], part, logTokens, 0);
      inputs[INPUT.logTokens(part.name)] = logTokens;
    }
  }

  /** Memory for slots as they are now, and where each of them is. */
  #layOut(): void {
    const table = this.#table;
    for (const gathered of this.#parts) {
      const { part } = gathered;
      const count = table.slotsOfPart(part);
      const dims = [table.batch, part.groups.length, count];
      const index = new Int32Array(dims[0] * dims[1] * count);
      for (const [row, i, group] of this.#lines(part)) {
        const from = table.positions.at(row, group);
        const to = (row * part.groups.length + i) * count;
        for (let slot = 0; slot < table.capacityOf(group); slot++) index[to + slot] = from + slot;
      }
      gathered.index = tensorOf(index, dims);
      gathered.slots = tensorOf(new Float32Array(index.length), dims);
      if (gathered.isMerged) gathered.logTokens = tensorOf(new Float32Array(index.length), dims);
    }
  }

  #copy(
    from: SlotArray<Float32Array> | SlotTable['slotState'][number],
    part: TablePart,
    { data, dims }: StepTensor,
    empty: number,
  ): void {
    const out = data as Float32Array;
    const [, groups, count] = dims;
    for (const [row, i, group] of this.#lines(part)) {
      const at = from.at(row, group);
      const to = (row * groups + i) * count;
      const slots = from.capacityOf(group);
      out.set(from.data.subarray(at, at + slots), to);
      out.fill(empty, to + slots, to + count);
    }
  }

  /** By row and group of a part. */
  *#lines({ groups }: TablePart): Generator<readonly [row: number, index: number, group: number]> {
    for (let row = 0; row < this.#table.batch; row++) for (const [i, group] of groups.entries()) yield [row, i, group];
  }
}
