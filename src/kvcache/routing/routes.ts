/**
 * @file How `routed` distributes a budget over the query groups of a model: by the table of a calibration.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { feedbackOf, type KeyRounding } from '../buffers/key-rounding.ts';
import type { CacheShape } from '../shape.ts';
import {
  type CalibrationTable,
  calibratedLayers,
  checkTableFits,
  type GroupCalibration,
  LOCAL_WINDOWS,
  readCalibrationTable,
} from './calibration-table.ts';

/** Slots of each group, and which policy decides about them. */
export interface Routes {
  /** By layer and group; empty for layers that a window bounds, or that hold no slots. */
  readonly slots: readonly (readonly number[])[];
  /** 1: the retrieval policy, 0: the local one. */
  readonly retrieval: readonly (readonly number[])[];
  /** What the keys of groups that read the past are rounded by. @default none are */
  readonly roundings?: readonly (readonly (KeyRounding | null)[])[];
}

/** What the distribution depends on besides the table. */
export interface RouteOptions {
  /** Tokens of the sequences that the cache is for. @default four times the cacheLength */
  readonly length?: number;
  /** The part of all slots that goes to recent tokens by what groups lose without them. @default 0.05 */
  readonly beta?: number;
  /** Slots that every group has at least. @default 8 */
  readonly floor?: number;
  /** Groups whose part of the past is above so many times the mean get the retrieval policy. @default 0.7 */
  readonly threshold?: number;
}

const ROUTE_DEFAULTS = { beta: 0.05, floor: 8, threshold: 0.7 } as const;
/** Sequences are so many times as long as the cache where nothing is known of them. */
const USUAL_RATIO = 4;
/** Sinks, which every group keeps beside its recent tokens. */
const SINKS = 4;
const STEPS = 50;

interface Group extends Pick<GroupCalibration, 'retrieval' | 'local' | 'rounding'> {
  readonly layer: number;
  /** Slots for sinks and recent tokens. */
  recent: number;
  /** The part of the past that it keeps besides. */
  share: number;
}

/**
 * The slots of each group; their mean over the groups of layers without a window is the cacheLength, whatever was
 * rounded.
 * @throws InputError for a table of another model, or options out of range.
 */
export function routesOf(given: unknown, shape: CacheShape, cacheLength: number, options: RouteOptions = {}): Routes {
  const table = readCalibrationTable(given);
  checkTableFits(table, shape);
  const { beta, floor, threshold } = { ...ROUTE_DEFAULTS, ...defined(options) };
  const length = wholeNumber('length', options.length ?? USUAL_RATIO * cacheLength);
  if (!(beta >= 0 && beta <= 1)) throw new InputError(`beta must be from 0 to 1, but is ${beta}`);
  if (!(threshold >= 0)) throw new InputError(`threshold must be at least 0, but is ${threshold}`);
  const least = Math.min(cacheLength, wholeNumber('floor', floor));
  const groups = groupsOf(table, shape);
  const total = cacheLength * groups.length;
  const most = Math.max(length, cacheLength);
  addRecent(groups, Math.max(beta * total, least * groups.length), least, most);
  const wanted = withShares(groups, total, most, length);
  const slots = wholeSlots(wanted, total, most);
  const mean = groups.reduce((sum, { share }) => sum + share, 0) / groups.length;
  return byLayer(shape, groups, slots, ({ share }) => share > threshold * mean);
}

/** Routes that are checked. */
export interface CheckedRoutes extends Omit<Routes, 'roundings'> {
  /** By layer and group; null or absent: keys are rounded number by number. */
  readonly feedback: readonly (readonly (Float32Array | null)[] | undefined)[];
}

/** @throws InputError for what is no distribution, or one of another model or budget. */
export function checkRoutes(
  { slots, retrieval, roundings }: Routes,
  shape: CacheShape,
  cacheLength: number,
): CheckedRoutes {
  const feedback = shape.layers.map(({ keySize }, l) =>
    roundings?.[l]?.map((rounding) => rounding && feedbackOf(rounding, keySize)),
  );
  const layers = calibratedLayers(shape);
  let sum = 0;
  let groups = 0;
  for (const l of layers) {
    const count = shape.layers[l].groups;
    if (slots[l]?.length !== count || retrieval[l]?.length !== count)
      throw new InputError(`routes must have a number for each of the ${count} groups of layer ${l}`);
    for (const own of slots[l]) sum += wholeNumber(`routes of layer ${l}`, own);
    groups += count;
  }
  if (sum > cacheLength * groups)
    throw new InputError(
      `routes have ${sum} slots, but a cacheLength of ${cacheLength} gives ${groups} groups ${cacheLength * groups}`,
    );
  return { slots, retrieval, feedback };
}

function groupsOf({ layers }: CalibrationTable, shape: CacheShape): Group[] {
  return calibratedLayers(shape).flatMap((layer) =>
    layers[layer]!.map((group) => ({ ...group, layer, recent: 0, share: 0 })),
  );
}

/** Gives recent slots where they save most, until all of them are given; every group has `least`. */
function addRecent(groups: readonly Group[], total: number, least: number, most: number): void {
  const pieces: { group: Group; gain: number; slots: number }[] = [];
  for (const group of groups) {
    group.recent = least;
    const points = hull(group.local).map(([window, lost]) => [Math.min(most, window + SINKS), lost] as const);
    for (let i = 1; i < points.length; i++) {
      const [from, to] = [Math.max(least, points[i - 1][0]), points[i][0]];
      if (to <= from) continue;
      const gain = (points[i - 1][1] - points[i][1]) / (points[i][0] - points[i - 1][0]);
      pieces.push({ group, gain, slots: to - from });
    }
  }
  let left = total - least * groups.length;
  // The pieces of a group come in their order: its gains fall.
  for (const piece of pieces.sort((a, b) => b.gain - a.gain)) {
    if (left <= 0) return;
    const slots = Math.min(left, piece.slots);
    piece.group.recent += slots;
    left -= slots;
  }
}

/** The lower convex hull of what is lost, by window. */
function hull(local: readonly number[]): (readonly [window: number, lost: number])[] {
  const points: (readonly [number, number])[] = [];
  for (const [i, window] of LOCAL_WINDOWS.entries()) {
    const next = [window, local[i]] as const;
    while (points.length > 1) {
      const [a, b] = [points[points.length - 2], points[points.length - 1]];
      if ((b[1] - a[1]) * (next[0] - a[0]) < (next[1] - a[1]) * (b[0] - a[0])) break;
      points.pop();
    }
    points.push(next);
  }
  return points;
}

/** Lowers one threshold for all groups until their slots are used up. */
function withShares(groups: readonly Group[], total: number, most: number, length: number): number[] {
  const slotsAt = (log: number) =>
    groups.map((group) => Math.min(most, group.recent + shareAbove(group.retrieval, log) * length));
  const sum = (slots: readonly number[]) => slots.reduce((a, b) => a + b, 0);
  let [high, low] = [1, Math.min(...groups.map(({ retrieval }) => retrieval[0])) - 1];
  for (let step = 0; step < STEPS; step++) {
    const middle = (high + low) / 2;
    if (sum(slotsAt(middle)) > total) low = middle;
    else high = middle;
  }
  for (const group of groups) group.share = shareAbove(group.retrieval, high);
  return slotsAt(high);
}

/** The part of a group's slots whose weights are above a threshold. */
function shareAbove(quantiles: readonly number[], log: number): number {
  const count = quantiles.length;
  if (log < quantiles[0]) return 1;
  if (log >= quantiles[count - 1]) return 0;
  let [below, above] = [0, count - 1];
  while (above - below > 1) {
    const middle = (below + above) >> 1;
    if (quantiles[middle] <= log) below = middle;
    else above = middle;
  }
  const step = quantiles[above] - quantiles[below];
  return 1 - (below + (step > 0 ? (log - quantiles[below]) / step : 1) + 0.5) / count;
}

/**
 * Whole numbers of the same sum: what rounding and limits leave goes to the largest remainders, then to all by turns.
 */
function wholeSlots(wanted: readonly number[], total: number, most: number): number[] {
  const slots = wanted.map((x) => Math.max(1, Math.min(most, Math.floor(x))));
  let left = total - slots.reduce((a, b) => a + b, 0);
  const order = [...wanted.keys()].sort((a, b) => (wanted[b] % 1) - (wanted[a] % 1) || a - b);
  while (left > 0) {
    const open = order.filter((i) => slots[i] < most);
    if (open.length === 0) break;
    const each = Math.max(1, Math.floor(left / open.length));
    for (const i of open) {
      const more = Math.min(each, most - slots[i], left);
      slots[i] += more;
      left -= more;
    }
  }
  return slots;
}

function byLayer(
  shape: CacheShape,
  groups: readonly Group[],
  slots: readonly number[],
  isRetrieval: (group: Group) => boolean,
): Routes {
  const of = <T>(value: (group: Group, i: number) => T) =>
    shape.layers.map((_, l) => groups.flatMap((group, i) => (group.layer === l ? [value(group, i)] : [])));
  return {
    slots: of((_, i) => slots[i]),
    retrieval: of((group) => Number(isRetrieval(group))),
    ...(groups.some(({ rounding }) => rounding) && {
      roundings: of((group) => (isRetrieval(group) && group.rounding) || null),
    }),
  };
}

/** Without what is undefined. */
function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
