/**
 * @file `merge`: the first tokens and the most recent ones; those of prompts between them are merged into fewer slots.
 */
import { InputError } from '../../util/errors.ts';
import type { CacheOptions } from '../options.ts';
import { Clusters } from '../policy/clusters.ts';
import { definePolicy } from '../policy/define-policy.ts';
import type { GroupView } from '../policy/group-view.ts';
import { Scratch } from '../policy/vectors.ts';
import type { LayerView } from '../policy/view.ts';
import type { KeyProducts } from '../shape.ts';

/** Options of `merge`. */
export interface MergeOptions extends CacheOptions {
  /** Tokens at the start of the sequence that always stay. @default 4 */
  readonly sinks?: number;
  /** The part of a group's slots that merged tokens have, 128 slots at most. @default 0.25 */
  readonly share?: number;
}

const SINKS = 4;
const SHARE = 0.25;

/** Below so many slots a group merges nothing: it keeps recent tokens. */
const FEWEST_SLOTS = 8;
/** Slots of merged tokens at most: a chunk takes time by the square of their number. */
const MOST_MERGED = 128;
/** How much tokens count by their number in the choice of what is merged; the rest is by the attention they receive. */
const BY_NUMBER = 0.3;

/** Weights are sorted by so many levels up to the mean, and so many in all: {@link Clusters} wants the light ones first. */
const LEVELS = 256;
const MOST_LEVELS = 4096;

/** Values of candidates: those that are merged into others go first. */
const GOES = 0;
const BETWEEN = 1;
const RECENT = 2;
const SINK = 3;

const NONE = new Int32Array(0);

/**
 * After each chunk of a prompt, tokens that are not recent any more are merged into clusters: those first whose keys are
 * near each other and which received little attention of the chunk's queries, of which every fourth is asked (see
 * {@link Clusters}). A cluster takes one slot: its key and value are the means of its tokens, and the logarithm of their
 * number is added to its attention scores, so a query finds about the sum of the weights that it would pay to them. Of
 * tokens that come one by one, those that are not recent any more are dropped, and the clusters stay as they are. Layers
 * with a window keep recent tokens only.
 */
export const merge = definePolicy<MergeOptions>({
  name: 'merge',
  summary: 'the first and the newest tokens; those between are merged',
  options: { share: 'the part of the slots that merged tokens have' },
  frame: ['sinks'],
  needs: ['sampled-sums'],
  readsSingles: false,
  slotStateType: 'float32',
  sinks: SINKS,
  recent: () => 1,
  scoredByLater: true,
  // Only slots that change are written anew.
  scoresDecode: false,
  setup: ({ options, shape }) => {
    const { sinks = SINKS, share = SHARE } = options;
    if (!(share > 0 && share < 1)) throw new InputError(`share must be a number between 0 and 1, but is ${share}`);
    const mergesIn = ({ budget }: GroupView, { layerShape }: LayerView) =>
      layerShape.window === null && budget >= sinks + FEWEST_SLOTS;
    const merger = new Merger(sinks, share, shape.keyMath?.products);
    return {
      rank: (group, layer) => {
        const { values, positions, length } = group;
        if (!mergesIn(group, layer)) for (let j = 0; j < length; j++) values[j] = positions[j];
        else merger.rank(group, layer);
      },
      merge: (group, layer) => {
        if (mergesIn(group, layer)) merger.merge(group, layer);
      },
    };
  },
});

/** Decides what is merged with what. A group is merged right after it was ranked. */
class Merger {
  readonly #sinks: number;
  readonly #share: number;
  readonly #clusters: Clusters;
  /** So many candidates that are neither sinks nor recent, those that weigh least first … */
  #between: Int32Array = NONE;
  /** … and into which of them each is merged, by their indices here; −1: it stays. */
  #into: Int32Array = NONE;
  /** How many tokens each of them stands for, … */
  #tokens = new Float64Array(0);
  /** … and how much it counts that it changes. */
  #weights = new Float64Array(0);
  /** Weights, positions and indices of candidates, to be sorted. */
  #order = new Float64Array(0);
  /** How many the clusters stand for after that. */
  #all = new Float64Array(0);
  /** Keys and values of those between, as they are stored; then the means. */
  readonly #keys = new Scratch();
  readonly #values = new Scratch();

  constructor(sinks: number, share: number, products?: KeyProducts) {
    this.#sinks = sinks;
    this.#share = share;
    this.#clusters = new Clusters(products);
  }

  /** Values by which as many candidates as there are too many are merged into others; in decode they are dropped. */
  rank(group: GroupView, layer: LayerView): void {
    const { values } = group;
    const drops = layer.phase === 'decode' || layer.newTokens === 1;
    const n = this.#mark(group, this.#oldestRecent(group, layer.lastPosition), drops);
    this.#into = NONE;
    if (drops) return;
    const joins = Math.min(group.kept - group.budget, n - 1);
    this.#weigh(group, n, layer.lastPosition + 1);
    const between = this.#between;
    const size = layer.keySize;
    const coordinates = this.#keys.growing(n * size);
    group.readStoredKeys(between, coordinates);
    const points = { count: n, size, coordinates, shares: this.#tokens, weights: this.#weights };
    this.#into = this.#clusters.join(points, joins);
    for (let i = 0; i < n; i++) if (this.#into[i] >= 0) values[between[i]] = GOES;
  }

  /** Tokens after this position are recent. */
  #oldestRecent({ budget }: GroupView, lastPosition: number): number {
    const free = budget - this.#sinks;
    const merged = Math.min(MOST_MERGED, Math.max(1, Math.floor(this.#share * free)));
    return lastPosition - (free - merged);
  }

  /**
   * Marks sinks and recent tokens. Of others that are dropped the newest goes first, so that drafts that come together
   * give what they would one by one.
   * @returns how many others there are.
   */
  #mark({ values, positions, keep, length }: GroupView, oldest: number, drops: boolean): number {
    let others = 0;
    for (let j = 0; j < length; j++) {
      const position = positions[j];
      values[j] = position < this.#sinks ? SINK : position > oldest ? RECENT : drops ? -position : BETWEEN;
      if (values[j] <= BETWEEN) others += keep[j];
    }
    return others;
  }

  /**
   * Lists the `n` candidates that stay between sinks and recent tokens, and how much it counts that each changes: by the
   * chunk's attention, and by the number of tokens, as the next chunk may look at others.
   */
  #weigh({ values, keep, positions, length, scores, weights: [attention] }: GroupView, n: number, end: number): void {
    this.#resize(n);
    const [order, between, tokens, weights] = [this.#order, this.#between, this.#tokens, this.#weights];
    let [count, paid, all] = [0, 0, 0];
    for (let j = 0; j < length; j++) {
      if (values[j] !== BETWEEN || keep[j] === 0) continue;
      between[count++] = j;
      paid += attention[j];
      all += tokensOf(scores[j]);
    }
    // A chunk that may be cut later has no sums.
    const byNumber = paid > 0 ? BY_NUMBER : 1;
    const [one, other] = [byNumber / all, (1 - byNumber) / (paid || 1)];
    const weightOf = (j: number) => one * tokensOf(scores[j]) + other * attention[j];
    for (let i = 0; i < n; i++) {
      const j = between[i];
      // Slots do not lie in the order of positions.
      const level = Math.min(MOST_LEVELS, Math.floor(LEVELS * n * weightOf(j)));
      order[i] = (level * end + positions[j]) * length + j;
    }
    // Numbers alone are sorted in a tenth of the time that a function to compare them takes.
    const sorted = order.subarray(0, n).sort();
    for (let i = 0; i < n; i++) {
      const j = sorted[i] % length;
      between[i] = j;
      tokens[i] = tokensOf(scores[j]);
      weights[i] = weightOf(j);
    }
  }

  #resize(n: number): void {
    if (this.#between.length !== n) this.#between = new Int32Array(n);
    if (this.#order.length >= n) return;
    const size = Math.ceil(1.25 * n);
    this.#order = new Float64Array(size);
    this.#tokens = new Float64Array(size);
    this.#weights = new Float64Array(size);
    this.#all = new Float64Array(size);
  }

  /** Writes the means of what was merged. */
  merge(group: GroupView, { keySize, valueSize }: LayerView): void {
    const [into, between, tokens, all] = [this.#into, this.#between, this.#tokens, this.#all];
    const n = into.length;
    if (n === 0) return;
    all.set(tokens.subarray(0, n));
    for (let i = 0; i < n; i++) {
      let stays = into[i];
      if (stays < 0) continue;
      while (into[stays] >= 0) stays = into[stays];
      into[i] = stays;
      all[stays] += tokens[i];
    }
    const [keys, values] = [this.#keys.growing(n * keySize), this.#values.growing(n * valueSize)];
    group.readStored('value', between, values);
    this.#addUp(keys, keySize);
    this.#addUp(values, valueSize);
    for (let i = 0; i < n; i++) {
      if (all[i] === tokens[i]) continue;
      const key = keys.subarray(i * keySize, (i + 1) * keySize);
      const value = values.subarray(i * valueSize, (i + 1) * valueSize);
      group.mergeStored(between[i], key, value, all[i]);
    }
  }

  /** Makes means of vectors, as they are stored, where those of clusters are that stay. */
  #addUp(vectors: Float32Array, size: number): void {
    const [into, tokens, all] = [this.#into, this.#tokens, this.#all];
    for (let i = 0; i < into.length; i++) {
      const part = tokens[i] / all[i];
      if (part !== 1) for (let at = i * size; at < (i + 1) * size; at++) vectors[at] *= part;
    }
    for (let i = 0; i < into.length; i++) {
      if (into[i] < 0) continue;
      const part = tokens[i] / all[into[i]];
      for (let from = i * size, to = into[i] * size; from < (i + 1) * size; from++, to++)
        vectors[to] += part * vectors[from];
    }
  }
}

const tokensOf = (logTokens: number): number => (logTokens === 0 ? 1 : Math.exp(logTokens));
