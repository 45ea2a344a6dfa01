/**
 * @file How many slots each group may have: its budget, or, where budgets follow the length, more while the sequence is
 * short.
 */
import { InputError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { PolicyLayout } from '../policy/policy.ts';
import type { LayerShape } from '../shape.ts';
import type { SlotTable } from './slots.ts';

/** What limits are made for. */
export interface LimitSpec {
  readonly cacheLength: number;
  /** Whether groups may hold more than their budgets while all together do not. @default false */
  readonly followsLength?: boolean;
  /** Most slots of a group whose budget is fixed. */
  readonly maxSlots: (table: SlotTable, group: number) => number;
  /** Slots by which the memory grows. @default 1 */
  readonly growth?: number;
  /** Slots beyond a limit that a chunk may be written to before tokens go. @default 0 */
  readonly spare?: number;
  /** Bytes of a slot of a group. */
  readonly slotBytes: (table: SlotTable, group: number) => number;
}

/** A number for each group of a table. */
export type OfGroup = (table: SlotTable, group: number) => number;

/** Limits of all groups, by name of the layer group. */
interface Step {
  /** Up to so many tokens. */
  readonly length: number;
  readonly slots: ReadonlyMap<string, readonly number[]>;
}

interface Entry {
  readonly table: SlotTable;
  readonly group: number;
  readonly budget: number;
  readonly bytes: number;
}

/** Limits change whenever the sequence is longer by such a part: each change moves slots to new memory. */
const STRIDE = 1 / 16;

/**
 * Up to the cacheLength every group holds all tokens. From there on each holds all of them or λ times its budget,
 * whichever is less. λ is as large as the bytes of all budgets allow, and falls to 1. So what is evicted first is of
 * the groups with the fewest slots, and no sum over all groups is larger than that of the budgets. Windows bound their
 * layers: those have no part in this.
 */
export class SlotLimits {
  readonly #tables: readonly SlotTable[];
  readonly #growth: number;
  /** Slots beyond a limit that a chunk may be written to. */
  readonly spare: number;
  /** Null: budgets are fixed. */
  readonly #steps: readonly Step[] | null;
  /** Most slots that each group can come to hold, by name of the layer group. */
  readonly #most: ReadonlyMap<string, readonly number[]>;

  constructor(tables: readonly SlotTable[], spec: LimitSpec) {
    this.#tables = tables;
    this.#growth = spec.growth ?? 1;
    // Memory of groups that give slots up is given back to what the limit says.
    this.spare = spec.followsLength ? 0 : (spec.spare ?? 0);
    const steps = spec.followsLength ? stepsOf(tables.filter(isFollowing), spec) : null;
    this.#steps = steps;
    const most = (table: SlotTable, g: number) =>
      steps && isFollowing(table)
        ? Math.max(...steps.map(({ slots }) => slots.get(table.name)![g]))
        : spec.maxSlots(table, g);
    this.#most = new Map(tables.map((table) => [table.name, range(table.groups).map((g) => most(table, g))]));
  }

  /** Whether groups give slots up while the sequence grows. */
  get followLength(): boolean {
    return this.#steps !== null;
  }

  /** Slots that the groups of a table may hold when a row has so many tokens. */
  at(table: SlotTable, length: number): readonly number[] {
    if (!this.#steps || !isFollowing(table)) return table.budgets;
    return (this.#steps.find((step) => length <= step.length) ?? this.#steps.at(-1)!).slots.get(table.name)!;
  }

  /** Slots that there may be memory for. Rows of a batch share memory, and may differ in length. */
  memoryFor(table: SlotTable, length: number, batch: number): readonly number[] {
    return this.#steps && batch === 1 && isFollowing(table) ? this.at(table, length) : this.most(table);
  }

  /**
   * Slots that there may be memory for where a step wants so many: beyond the limit only where the spare ones are
   * enough.
   */
  withChunk(limit: number, wanted: number): number {
    if (wanted <= limit) return wanted;
    return wanted <= limit + this.spare ? Math.ceil(wanted / this.#growth) * this.#growth : limit;
  }

  /** The limit and its spare slots: the most that {@link withChunk} gives. */
  withSpare(limit: number): number {
    return this.spare > 0 ? Math.ceil((limit + this.spare) / this.#growth) * this.#growth : limit;
  }

  /** The sum over all slots that there are beyond what groups can come to hold. @param of each slot of a group. */
  beyond(of: OfGroup): number {
    let sum = 0;
    for (const table of this.#tables)
      for (const [g, most] of this.most(table).entries()) sum += of(table, g) * Math.max(0, table.capacityOf(g) - most);
    return sum;
  }

  /** Most slots that each group of a table can come to hold. */
  most(table: SlotTable): readonly number[] {
    return this.#most.get(table.name)!;
  }

  /**
   * The most that a sum over all slots can come to.
   * @param of each slot of a group.
   * @param alone whether all rows are of one length.
   */
  mostOfAll(of: OfGroup, alone: boolean): number {
    const sum = (slots: OfGroup) =>
      this.#tables.reduce((all, table) => {
        for (let g = 0; g < table.groups; g++) all += of(table, g) * slots(table, g);
        return all;
      }, 0);
    if (!this.#steps || !alone) return sum((table, g) => this.most(table)[g]);
    const sums = this.#steps.map(({ slots }) => sum((table, g) => (slots.get(table.name) ?? this.most(table))[g]));
    return Math.max(...sums);
  }
}

/**
 * The budgets of a layer's groups.
 * @throws InputError for a policy that gives a group no slot.
 */
export function budgetsOf(
  { budget, perGroup }: PolicyLayout,
  { window, groups }: LayerShape,
  layer: number,
  cacheLength: number,
): number[] {
  return range(perGroup ? groups : 1).map((group) => {
    const own = budget?.(layer, group) ?? cacheLength;
    if (!Number.isInteger(own) || own < 1)
      throw new InputError(`a policy's budget must be a whole number of at least 1, but is ${own} in layer ${layer}`);
    // A layer with a window w never needs more than the w - 1 tokens before the next one.
    return window === null ? own : Math.max(1, Math.min(own, window - 1));
  });
}

const isFollowing = ({ window }: SlotTable): boolean => window === null;

function stepsOf(tables: readonly SlotTable[], { cacheLength, slotBytes }: LimitSpec): Step[] {
  const entries = tables
    .flatMap((table) =>
      table.budgets.map((budget, group) => ({ table, group, budget, bytes: slotBytes(table, group) })),
    )
    .sort((a, b) => b.budget - a.budget);
  const whole = new Map(tables.map(({ name, groups }) => [name, new Array<number>(groups).fill(cacheLength)]));
  const steps: Step[] = [{ length: cacheLength, slots: whole }];
  const longest = entries[0]?.budget ?? 0;
  let length = cacheLength;
  do {
    length += Math.max(1, Math.floor(STRIDE * length));
    steps.push({ length, slots: limitsAt(length, tables, entries) });
  } while (length < longest);
  return steps;
}

/** @param entries by budget, the largest first. */
function limitsAt(length: number, tables: readonly SlotTable[], entries: readonly Entry[]): Map<string, number[]> {
  const limits = new Map(tables.map(({ name, groups }) => [name, new Array<number>(groups).fill(0)]));
  const scale = scaleAt(length, entries);
  for (const { table, group, budget } of entries) {
    // Rounding must not take a slot of what the budget is for sure.
    const slots = Math.max(budget, Math.floor(scale * budget));
    limits.get(table.name)![group] = Math.min(length, slots);
  }
  return limits;
}

/** λ: what budgets are multiplied with, so that all bytes are used when no group holds more than all tokens. */
function scaleAt(length: number, entries: readonly Entry[]): number {
  let left = entries.reduce((sum, { budget, bytes }) => sum + budget * bytes, 0);
  let wanted = left;
  for (const { budget, bytes } of entries) {
    const scale = left / wanted;
    if (scale * budget < length) return scale;
    // It holds all tokens, and the others share the rest.
    left -= length * bytes;
    wanted -= budget * bytes;
  }
  return 1;
}
