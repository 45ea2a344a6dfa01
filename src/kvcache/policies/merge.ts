/**
 * @file `merge`: the first tokens and the most recent ones; those between are merged into fewer slots.
 */
import { InputError } from '../../util/errors.ts';
import type { CacheOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';
import { Scratch } from '../policy/vectors.ts';
import type { GroupView, LayerView } from '../policy/view.ts';

/** Options of `merge`. */
export interface MergeOptions extends CacheOptions {
  /** Tokens at the start of the sequence that always stay. @default 4 */
  readonly sinks?: number;
  /** The part of a group's slots that merged tokens have. @default 0.25 */
  readonly share?: number;
}

const SINKS = 4;
const SHARE = 0.25;

/** Below so many slots a group merges nothing: it keeps recent tokens. */
const FEWEST_SLOTS = 8;

/** Values of candidates: those that are merged into others go first. */
const GOES = 0;
const ANCHOR = 1;
const RECENT = 2;
const SINK = 3;

/**
 * A token that is not recent any more is merged into the slot of another one, whose key is the nearest: key and value
 * of this slot become the means of all tokens that it stands for, and the logarithm of their number is added to its
 * attention scores. So a query finds about the sum of the weights that it would pay to them. Slots are merged with each
 * other where a group has too many of them. Layers with a window keep recent tokens only.
 */
export const merge = definePolicy<MergeOptions>({
  name: 'merge',
  summary: 'the first tokens and the most recent ones; tokens between are merged',
  options: { share: 'the part of the slots that merged tokens have' },
  frame: ['sinks'],
  slotStateType: 'float32',
  sinks: SINKS,
  recent: () => 1,
  scoredByLater: true,
  // Only slots that change are written anew.
  scoresDecode: false,
  setup: ({ options }) => {
    const { sinks = SINKS, share = SHARE } = options;
    if (!(share > 0 && share < 1)) throw new InputError(`share must be a number between 0 and 1, but is ${share}`);
    const scratch = new Scratch();
    const mergesIn = ({ budget }: GroupView, { layerShape }: LayerView) =>
      layerShape.window === null && budget >= sinks + FEWEST_SLOTS;
    /** How many of the newest tokens have slots of their own. */
    const recentOf = ({ budget }: GroupView): number => {
      const free = budget - sinks;
      return free - Math.max(1, Math.floor(share * free));
    };
    return {
      rank: (group, layer) => {
        const { values, positions, length } = group;
        if (!mergesIn(group, layer)) for (let j = 0; j < length; j++) values[j] = positions[j];
        else rank(group, layer, sinks, recentOf(group));
      },
      merge: (group, layer) => {
        if (mergesIn(group, layer)) mergeGone(group, layer, scratch);
      },
    };
  },
});

/** Values by which as many candidates as there are too many are merged into others. */
function rank(
  { values, positions, keep, length, budget, held }: GroupView,
  layer: LayerView,
  sinks: number,
  recent: number,
) {
  const { lastPosition, newTokens, phase } = layer;
  const oldest = lastPosition - recent;
  const slots = Math.max(1, budget - sinks - recent);
  const between: number[] = [];
  for (let j = 0; j < length; j++) {
    const position = positions[j];
    values[j] = position < sinks ? SINK : position > oldest ? RECENT : GOES;
    if (values[j] === GOES && keep[j] === 1) between.push(j);
  }
  // Slots do not lie in the order of their positions.
  between.sort((a, b) => positions[a] - positions[b]);
  // Those that were no recent ones before this chunk. In decode the newest go, so that drafts that come together give
  // what they would one by one.
  const isOld = (j: number) => j < held && positions[j] <= oldest - newTokens;
  const old = phase === 'decode' ? between.slice(0, slots) : between.filter(isOld);
  const anchors = [...evenly(old, slots), ...evenly(between.slice(old.length), Math.max(0, slots - old.length))];
  for (const j of anchors) values[j] = ANCHOR;
}

/** At most `count` of a list, at even distances. */
function evenly(list: readonly number[], count: number): number[] {
  if (list.length <= count) return [...list];
  if (count === 1) return [list[0]];
  return Array.from({ length: count }, (_, i) => list[Math.floor((i * (list.length - 1)) / (count - 1))]);
}

/** Merges each candidate that goes into the nearest slot that is kept for it. */
function mergeGone(group: GroupView, { keySize, valueSize }: LayerView, scratch: Scratch) {
  const { values, keep, length, scores } = group;
  const anchors: number[] = [];
  for (let j = 0; j < length; j++) if (values[j] === ANCHOR && keep[j] === 1) anchors.push(j);
  if (anchors.length === 0) return;
  const keys = scratch.growing(anchors.length * keySize);
  anchors.forEach((j, a) => {
    group.readKey(j, keys.subarray(a * keySize, (a + 1) * keySize));
  });
  const merged = new Map<number, Read[]>();
  for (const j of group.gone) {
    if (values[j] !== GOES) continue;
    const key = new Float32Array(keySize);
    group.readKey(j, key);
    const a = nearest(keys, anchors.length, key);
    const others = merged.get(a);
    if (others) others.push({ j, key });
    else merged.set(a, [{ j, key }]);
  }
  const value = new Float32Array(valueSize);
  for (const [a, others] of merged) {
    const all = [{ j: anchors[a], key: keys.subarray(a * keySize, (a + 1) * keySize) }, ...others];
    const counts = all.map(({ j }) => Math.exp(scores[j]));
    const tokens = counts.reduce((sum, count) => sum + count, 0);
    const [meanKey, meanValue] = [new Float32Array(keySize), new Float32Array(valueSize)];
    all.forEach(({ j, key }, n) => {
      const part = counts[n] / tokens;
      group.readValue(j, value);
      for (let i = 0; i < keySize; i++) meanKey[i] += part * key[i];
      for (let i = 0; i < valueSize; i++) meanValue[i] += part * value[i];
    });
    group.merge(anchors[a], meanKey, meanValue, tokens);
  }
}

/** A candidate whose key was read: to read one of a quantized buffer takes as long as many comparisons. */
interface Read {
  readonly j: number;
  readonly key: Float32Array;
}

/** Which of `count` keys is the nearest to a key. */
function nearest(keys: Float32Array, count: number, key: Float32Array): number {
  const D = key.length;
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let a = 0; a < count; a++) {
    let distance = 0;
    for (let i = 0, at = a * D; i < D; i++, at++) {
      const difference = keys[at] - key[i];
      distance += difference * difference;
    }
    if (distance < least) {
      least = distance;
      best = a;
    }
  }
  return best;
}
