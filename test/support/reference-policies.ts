/**
 * @file The cache policies once more, slow and plain: written from their definitions in docs/policies.md alone, with
 * lists of slots and whole matrices of attention. One row, any number of layers.
 */
import { floatToHalf, halfToFloat } from '../../src/kvcache/buffers/float16.ts';
import type { BufferKind } from '../../src/kvcache/buffers.ts';
import type { ChunkOutputs } from '../../src/kvcache/rows/chunk.ts';
import { range } from '../../src/util/numbers.ts';
import { dot, softmax } from './fake-graph.ts';
import type { FakeModel } from './fake-model.ts';
import { referenceStore } from './reference-store.ts';

export interface ReferenceOptions {
  readonly policy: string;
  readonly cacheLength: number;
  readonly buffer?: BufferKind;
  readonly sinks?: number;
  readonly recent?: number;
  readonly normalize?: boolean;
  readonly window?: number;
  readonly kernel?: number;
  readonly beta?: number;
  readonly share?: number;
  readonly c?: number;
  readonly horizon?: number;
  /** The floor of `ada(…)`, where groups share. */
  readonly floor?: number;
}

interface Slot {
  readonly position: number;
  key: Float32Array;
  readonly exactKey: Float32Array;
  value: Float32Array;
  /** How many tokens it stands for. */
  tokens: number;
  readonly error: number;
  score: number;
  /** Its scores under each policy of a mix. */
  readonly parts: Record<string, number>;
}

/** The attention of one group: [head][query][slot]. */
type Weights = readonly (readonly (readonly number[])[])[];

/** What a policy sees of a layer. */
interface Layer {
  readonly index: number;
  readonly groups: Slot[][];
  readonly weights: readonly Weights[];
  /** What the chunk would pay at most if it were read once more [group][slot]; none where the policy does not ask. */
  readonly echoes: readonly (readonly number[])[];
  readonly now: number;
  readonly fresh: number;
  readonly phase: ChunkOutputs['phase'];
}

const norm = (x: ArrayLike<number>): number => Math.sqrt(dot(x, x));
const sum = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0);
const distance = (a: Float32Array, b: Float32Array): number => norm(Array.from(a, (x, i) => x - b[i]));

/** merge: slots that are to be one. */
interface Cluster {
  readonly first: Slot;
  tokens: number;
  mean: number[];
  weight: number;
}

const squared = (a: readonly number[], b: readonly number[]): number => sum(a.map((x, i) => (x - b[i]) ** 2));

export class ReferenceCache {
  readonly model: FakeModel;
  readonly options: ReferenceOptions;
  readonly sinks: number;
  readonly recent: number;
  readonly window: number;
  length = 0;
  /** The smallest distance, relative to the values' size, between one that went and one that stayed. */
  margin = Number.POSITIVE_INFINITY;
  readonly #layers: Slot[][][];
  /** merge: which slots were joined into which others by the step. */
  readonly #joined: [Slot, Slot][] = [];
  /** All queries seen [layer][head]. */
  readonly #queries: Float32Array[][][];
  /** leverage: all keys seen [layer][group], unrotated. */
  readonly #plainKeys: number[][][][];
  /** snapkv: how many queries the scores are sums over. */
  #counted = 0;

  constructor(model: FakeModel, options: ReferenceOptions) {
    const { policy, cacheLength: N } = options;
    const { nLayer, nHead, nQueryGroups: G } = model.shape;
    this.model = model;
    this.options = options;
    const names = /^mix\((.*)\)$/.exec(policy)?.[1].split(', ') ?? [policy];
    const withSinks = names.some((name) => !['h2o-orig', 'tova', 'knorm', 'keydiff'].includes(name));
    this.sinks = options.sinks ?? Math.min(withSinks ? 4 : 0, N - 1);
    const part = Math.min(...names.map((name) => ({ 'h2o-orig': 2, expected: 4 })[name] ?? 8));
    const usual = ['tova', 'lastrec', 'merge'].includes(policy) ? 1 : Math.floor(N / part);
    this.recent = options.recent ?? Math.max(1, Math.min(usual, N - this.sinks));
    this.window = options.window ?? Math.min(32, N - this.sinks);
    this.#layers = range(nLayer).map(() => range(G).map(() => []));
    this.#plainKeys = range(nLayer).map(() => range(G).map(() => []));
    this.#queries = range(nLayer).map(() => range(nHead).map(() => []));
  }

  positions(layer: number, group: number): number[] {
    return this.#layers[layer][group].map(({ position }) => position);
  }

  scores(layer: number, group: number): number[] {
    return this.#layers[layer][group].map(({ score }) => score);
  }

  /** Slots of a layer, before its window is thought of. */
  budget(layer: number): number {
    const { policy, cacheLength: N, beta = 20 } = this.options;
    const L = this.model.shape.nLayer;
    if (policy !== 'pyramid' || L === 1) return N;
    const min = Math.max(1, N / beta);
    const max = 2 * N - min;
    return roundHalfEven(max - (layer * (max - min)) / (L - 1));
  }

  step(tokens: readonly number[], phase: ChunkOutputs['phase']): void {
    const counted = Math.min(tokens.length, this.window);
    this.#counted = phase === 'decode' ? this.#counted + counted : counted;
    for (const l of range(this.model.shape.nLayer)) this.#stepLayer(l, tokens, phase);
    this.length += tokens.length;
  }

  #stepLayer(l: number, tokens: readonly number[], phase: ChunkOutputs['phase']): void {
    const { shape } = this.model;
    const groups = this.#layers[l];
    const first = this.length;
    const now = first + tokens.length - 1;
    const window = shape.layers[l].window ?? Number.POSITIVE_INFINITY;
    const weights = groups.map((slots, g) => this.#attend(l, g, slots, tokens, window));
    const asks = this.options.policy.includes('echo');
    const echoes = groups.map((slots, g) => (asks ? this.#echo(l, g, slots, tokens, window) : []));
    groups.forEach((slots, g) => {
      slots.push(...tokens.map((token, t) => this.#newSlot(l, g, first + t, token)));
    });
    const layer: Layer = { index: l, groups, weights, echoes, now, fresh: tokens.length, phase };
    const values = this.#observe(layer);
    // What no later query can see takes no slot.
    const alive = groups.map((slots) => slots.map(({ position }) => position > now + 1 - window));
    const budget = Math.min(this.budget(l), Math.max(1, window - 1));
    const stays = this.options.floor === undefined ? this.#eachGroup : this.#allGroups;
    // A pyramid is whole as long as all of a sequence fits.
    const fits = this.options.policy === 'pyramid' && now < this.options.cacheLength;
    const kept = fits
      ? alive.map((slots) => range(slots.length).filter((j) => slots[j]))
      : stays.call(this, layer, values, alive, budget);
    kept.forEach((indices, g) => {
      const [slots, isOver] = [groups[g], indices.length < sum(alive[g].map(Number))];
      groups[g] = indices.map((j) => slots[j]);
      if (this.options.policy === 'merge' && isOver && this.#merges(l)) this.#merge(slots);
    });
  }

  /** Whether slots of a layer are merged: it has no window, and 8 slots besides the sinks. */
  #merges(l: number): boolean {
    return this.model.shape.layers[l].window === null && this.options.cacheLength >= this.sinks + 8;
  }

  /** Slots of recent tokens. */
  get #recentSlots(): number {
    const free = this.options.cacheLength - this.sinks;
    return free - Math.max(1, Math.floor((this.options.share ?? 0.25) * free));
  }

  /** 3: a sink, 2: recent, 1: between them, 0: it goes, into another one of these where `#joined` says so. */
  #mergeRoles({ groups, weights, now, phase, fresh }: Layer): number[][] {
    this.#joined.length = 0;
    return groups.map((slots, g) => {
      const roles: number[] = slots.map(({ position }) =>
        position < this.sinks ? 3 : position > now - this.#recentSlots ? 2 : 1,
      );
      const between = range(slots.length).filter((j) => roles[j] === 1);
      between.sort((a, b) => slots[a].position - slots[b].position);
      const sampled = weights[g].map((head) => head.filter((_, query) => query % 4 === 0));
      const paid = slots.map((_, j) => sum(sampled.flatMap((head) => head.map((row) => row[j]))));
      const all = sum(between.map((j) => paid[j]));
      const tokens = sum(between.map((j) => slots[j].tokens));
      const isChunk = weights[g][0].length > 1 && all > 0;
      const clusters: Cluster[] = between.map((j) => ({
        first: slots[j],
        tokens: slots[j].tokens,
        mean: [...slots[j].key],
        weight: isChunk ? (0.3 * slots[j].tokens) / tokens + (0.7 * paid[j]) / all : slots[j].tokens / tokens,
      }));
      const joins = Math.min(slots.length - this.options.cacheLength, between.length - 1);
      // Of tokens that come one by one the newest are dropped.
      if (phase === 'decode' || fresh === 1) clusters.splice(between.length - joins);
      else for (let left = joins; left > 0; left--) this.#joinClosest(clusters);
      const stay = new Set(clusters.map(({ first }) => first));
      for (const j of between) if (!stay.has(slots[j])) roles[j] = 0;
      return roles;
    });
  }

  /** The two clusters that lose least by it become one. */
  #joinClosest(clusters: Cluster[]): void {
    const pairs = clusters.flatMap((a, i) =>
      clusters.slice(0, i).map((b) => {
        const [heavy, light] = a.weight >= b.weight ? [a, b] : [b, a];
        const loss = ((a.weight * b.weight) / (a.weight + b.weight)) * squared(a.mean, b.mean);
        return { heavy, light, loss };
      }),
    );
    pairs.sort((a, b) => a.loss - b.loss);
    const [{ heavy, light, loss }, next] = pairs;
    if (next) this.#near(loss, next.loss);
    this.#near(heavy.weight, light.weight);
    this.#joinTwo(clusters, heavy, light);
  }

  #near(a: number, b: number): void {
    this.margin = Math.min(this.margin, Math.abs(a - b) / Math.max(a, b, 1e-9));
  }

  #joinTwo(clusters: Cluster[], a: Cluster, b: Cluster): void {
    const part = a.tokens / (a.tokens + b.tokens);
    a.mean = a.mean.map((x, i) => part * x + (1 - part) * b.mean[i]);
    a.tokens += b.tokens;
    a.weight += b.weight;
    clusters.splice(clusters.indexOf(b), 1);
    this.#joined.push([b.first, a.first]);
  }

  /** Writes the means of the slots that were joined. */
  #merge(slots: readonly Slot[]): void {
    const { buffer = 'float32' } = this.options;
    const into = new Map(this.#joined);
    const staysOf = (slot: Slot): Slot => (into.has(slot) ? staysOf(into.get(slot)!) : slot);
    for (const slot of slots) {
      const all = slots.filter((other) => staysOf(other) === slot);
      if (all.length < 2) continue;
      const tokens = sum(all.map((one) => one.tokens));
      const mean = (half: 'key' | 'value') =>
        Float32Array.from(slot[half], (_, i) => sum(all.map((one) => (one.tokens / tokens) * one[half][i])));
      const [key, value] = [mean('key'), mean('value')];
      const blocks = Boolean(this.model.shape.memory?.blocks);
      slot.key = referenceStore(buffer, 'key', key, blocks);
      slot.value = referenceStore(buffer, 'value', value, blocks);
      // The logarithm is a number of float16.
      slot.score = halfToFloat(floatToHalf(Math.log(tokens)));
      slot.tokens = Math.exp(slot.score);
    }
  }

  /** The chunk's queries attend to the slots as they are stored, and to the chunk as it is. */
  #attend(l: number, g: number, slots: readonly Slot[], tokens: readonly number[], window: number): Weights {
    const { model, length: first } = this;
    const { heads: nHead, groups: nQueryGroups, attentionScale } = model.shape.layers[l];
    const R = nHead / nQueryGroups;
    const keys = [...slots.map(({ key }) => key), ...tokens.map((token, t) => model.key(l, g, first + t, token))];
    const counts = [...slots.map((slot) => slot.tokens), ...tokens.map(() => 1)];
    const positions = [...slots.map(({ position }) => position), ...tokens.map((_, t) => first + t)];
    return range(R).map((r) =>
      tokens.map((token, t) => {
        this.#queries[l][g * R + r].push(model.plainQuery(l, g * R + r, first + t, token));
        const query = model.query(l, g * R + r, first + t, token);
        const logits = keys.map((key, j) =>
          positions[j] <= first + t && positions[j] > first + t - window
            ? dot(query, key) * attentionScale + Math.log(counts[j])
            : Number.NEGATIVE_INFINITY,
        );
        return softmax(logits);
      }),
    );
  }

  /** The chunk comes a second time, right behind itself: what its queries pay then, to all that was there before. */
  #echo(l: number, g: number, slots: readonly Slot[], tokens: readonly number[], window: number): number[] {
    const { model, length: first } = this;
    const { heads, groups, attentionScale } = model.shape.layers[l];
    const R = heads / groups;
    const T = tokens.length;
    const before = [
      ...slots.map(({ key, position }) => ({ key, position })),
      ...tokens.map((token, t) => ({ key: model.key(l, g, first + t, token), position: first + t })),
    ];
    if (T === 1) return before.map(() => 0);
    // A key of the copy, turned to its own position.
    const copy = tokens.map((token, t) => ({
      key: model.key(l, g, first + t, token, first + T + t),
      position: first + T + t,
    }));
    const rows = range(R).flatMap((r) =>
      tokens.map((token, t) => {
        const query = model.query(l, g * R + r, first + t, token, first + T + t);
        const logits = [...before, ...copy].map(({ key, position }) =>
          position <= first + T + t && position > first + T + t - window
            ? dot(query, key) * attentionScale
            : Number.NEGATIVE_INFINITY,
        );
        return softmax(logits);
      }),
    );
    return before.map((_, j) => Math.max(...rows.map((row) => row[j])));
  }

  #newSlot(l: number, g: number, position: number, token: number): Slot {
    const { model } = this;
    const { buffer = 'float32' } = this.options;
    const exactKey = model.key(l, g, position, token);
    const exactValue = model.value(l, g, position, token);
    const key = referenceStore(buffer, 'key', exactKey, Boolean(model.shape.memory?.blocks));
    const value = referenceStore(buffer, 'value', exactValue, Boolean(model.shape.memory?.blocks));
    return {
      position,
      key,
      exactKey,
      value,
      tokens: 1,
      error: distance(exactKey, key) + distance(exactValue, value),
      score: 0,
      parts: {},
    };
  }

  /** Brings the scores up to date. @returns the values by which slots are ranked [group][slot]. */
  #observe(layer: Layer, policy = this.options.policy): number[][] {
    const mixed = /^mix\((.*)\)$/.exec(policy)?.[1].split(', ');
    if (mixed) return this.#mix(layer, mixed);
    const { groups, weights, now, phase, fresh } = layer;
    const { normalize = true, c = 0.5 } = this.options;
    const m = weights.map((A) => range(A[0][0].length).map((j) => sum(A.flatMap((head) => head.map((row) => row[j])))));
    const perQuery = (slot: Slot) => slot.score / (now - slot.position + 1);
    switch (policy) {
      case 'merge':
        if (this.#merges(layer.index)) return this.#mergeRoles(layer);
        return groups.map((slots) => slots.map(({ position }) => position));
      case 'lastrec':
        return groups.map((slots) => slots.map(({ position }) => position));
      case 'h2o':
      case 'h2o-orig':
      case 'h2o-vlen':
      case 'qh2o': {
        const byLength = policy === 'h2o-vlen';
        groups.forEach((slots, g) => {
          slots.forEach((slot, j) => {
            slot.score += m[g][j] * (byLength ? norm(slot.value) : 1);
          });
        });
        const divided = normalize && policy !== 'h2o-orig';
        const S = groups.map((slots) => slots.map((slot) => (divided ? perQuery(slot) : slot.score)));
        if (policy !== 'qh2o') return S;
        return groups.map((slots, g) => {
          const attention = unit(S[g]);
          const error = unit(slots.map((slot) => slot.error));
          return slots.map((_, j) => c * attention[j] - (1 - c) * error[j]);
        });
      }
      case 'h2o-max':
        groups.forEach((slots, g) => {
          slots.forEach((slot, j) => {
            slot.score = Math.max(slot.score, ...weights[g].flatMap((A) => A.map((row) => row[j])));
          });
        });
        break;
      case 'echo':
        groups.forEach((slots, g) => {
          slots.forEach((slot, j) => {
            slot.score = Math.max(slot.score, layer.echoes[g][j]);
          });
        });
        break;
      case 'echo-keydiff':
        groups.forEach((slots, g) => {
          if (layer.fresh < 2) return;
          const chunk = slots
            .slice(-layer.fresh)
            .map(({ exactKey }) => Array.from(exactKey, (x) => x / norm(exactKey)));
          chunk.forEach((direction, t) => {
            const others = direction.map((_, i) => sum(chunk.map((x) => x[i])) - direction[i]);
            const cosine = norm(others) > 0 ? dot(direction, others) / norm(others) : 0;
            const j = slots.length - layer.fresh + t;
            slots[j].score = layer.echoes[g][j] * Math.exp(-6 * cosine);
          });
        });
        // In the same order, but products differ by rounding as their logarithms do.
        return groups.map((slots) => slots.map(({ score }) => Math.log(score + 1e-30)));
      case 'h2o-echo':
        groups.forEach((slots, g) => {
          if (layer.fresh < 2) return;
          slots.forEach((slot, j) => {
            slot.score += m[g][j];
            slot.parts.echoed = Math.max(slot.parts.echoed ?? 0, layer.echoes[g][j]);
          });
        });
        return groups.map((slots) => slots.map((slot) => perQuery(slot) * ((slot.parts.echoed ?? 0) + 0.02)));
      case 'tova': {
        const heads = weights.flat();
        for (const slots of groups)
          slots.forEach((slot, j) => {
            slot.score = sum(heads.map((A) => A[fresh - 1][j])) / heads.length;
          });
        break;
      }
      case 'snapkv':
      case 'pyramid': {
        const from = Math.max(0, fresh - this.window);
        groups.forEach((slots, g) => {
          const seen = slots.map((_, j) => sum(weights[g].flatMap((A) => A.slice(from).map((row) => row[j]))));
          const pooled = phase === 'decode' ? null : pool(seen, this.options.kernel ?? 5);
          slots.forEach((slot, j) => {
            slot.score = pooled ? pooled[j] : slot.score + seen[j];
          });
        });
        if (phase !== 'decode') break;
        // As h2o: divided by the number of queries (of those that were counted) that could see the slot.
        return groups.map((slots) =>
          slots.map((slot) => slot.score / Math.min(now - slot.position + 1, this.#counted)),
        );
      }
      case 'knorm':
        for (const slot of groups.flat()) slot.score = -norm(slot.key);
        break;
      case 'keydiff':
        for (const slots of groups) {
          // New tokens count as the model made them.
          const keys = slots.map(({ key, exactKey }, j) => (j < slots.length - fresh ? key : exactKey));
          const directions = keys.map((key) => Array.from(key, (x) => x / norm(key)));
          const u = range(directions[0].length).map((i) => sum(directions.map((d) => d[i])) / slots.length);
          slots.forEach((slot, j) => {
            slot.score = -dot(directions[j], u) / norm(u);
          });
        }
        break;
      case 'leverage':
        groups.forEach((slots, g) => {
          this.#leverage(layer.index, g, slots, slots.slice(-fresh));
        });
        break;
      case 'expected':
        this.#expect(layer);
        break;
      default:
        throw new Error(`no reference of ${policy}`);
    }
    return groups.map((slots) => slots.map(({ score }) => score));
  }

  /** The sum of the ranks among what is not hidden; scores are those of the first policy. */
  #mix(layer: Layer, policies: readonly string[]): number[][] {
    const { groups, now, index } = layer;
    const window = this.model.shape.layers[index].window ?? Number.POSITIVE_INFINITY;
    const sums = groups.map((slots) => slots.map(() => 0));
    for (const policy of policies) {
      for (const slot of groups.flat()) slot.score = slot.parts[policy] ?? 0;
      const values = this.#observe(layer, policy);
      groups.forEach((slots, g) => {
        for (const slot of slots) slot.parts[policy] = slot.score;
        const order = range(slots.length).filter((j) => slots[j].position > now + 1 - window);
        order.sort((a, b) => values[g][a] - values[g][b] || slots[a].position - slots[b].position);
        order.forEach((j, rank) => {
          sums[g][j] += rank;
          const before = values[g][order[rank - 1]];
          // Ranks of values that are nearly equal are up to rounding.
          const size = Math.max(...values[g].map(Math.abs), Number.MIN_VALUE);
          if (rank > 0 && before !== values[g][j]) this.margin = Math.min(this.margin, (values[g][j] - before) / size);
        });
      });
    }
    for (const slot of groups.flat()) slot.score = slot.parts[policies[0]];
    return sums;
  }

  /**
   * xᵀ (Σ x xᵀ + λI)⁻¹ x, with x = unrotated key − mean, the sum over all keys seen, and λ a hundredth of the mean
   * diagonal.
   */
  #leverage(l: number, g: number, slots: readonly Slot[], fresh: readonly Slot[]): void {
    const seen = this.#plainKeys[l][g];
    seen.push(...fresh.map(({ exactKey, position }) => this.#turnBack(l, exactKey, position)));
    const D = seen[0].length;
    const mean = range(D).map((i) => sum(seen.map((key) => key[i])) / seen.length);
    const minus = (key: readonly number[]) => key.map((x, i) => x - mean[i]);
    const M = range(D).map((a) => range(D).map((b) => sum(seen.map((key) => minus(key)[a] * minus(key)[b]))));
    const diagonal = sum(M.map((row, i) => row[i])) / D;
    const constant = diagonal <= (1e-9 * sum(seen.map((key) => dot(key, key)))) / D;
    const inverse = constant
      ? M.map((row) => row.map(() => 0))
      : invert(M.map((row, a) => row.map((x, b) => x + (a === b ? 0.01 * diagonal : 0))));
    for (const slot of slots) {
      const x = minus(this.#turnBack(l, slot.key, slot.position));
      slot.score = dot(
        x,
        inverse.map((row) => dot(row, x)),
      );
    }
  }

  /** A key as it was before its rotation. */
  #turnBack(l: number, key: Float32Array, position: number): number[] {
    const { rotation } = this.model.shape.layers[l];
    const out = Array.from(key);
    if (rotation === null || rotation === 'varies') return out;
    const pairs = rotation.inverse.length;
    for (const i of range(pairs)) {
      const [a, b] = rotation.interleave ? [2 * i, 2 * i + 1] : [i, i + pairs];
      const [cos, sin] = [Math.cos(position * rotation.inverse[i]), Math.sin(position * rotation.inverse[i])];
      out[a] = key[a] * cos + key[b] * sin;
      out[b] = key[b] * cos - key[a] * sin;
    }
    return out;
  }

  /** mean over heads of softmax_j(kᵀR̄μ·s + kᵀR̄ΣR̄ᵀk·s²/2), times ‖v_j‖. */
  #expect({ index, groups, now }: Layer): void {
    const { heads: nHead, groups: nQueryGroups, keySize: D, attentionScale: s } = this.model.shape.layers[index];
    const R = nHead / nQueryGroups;
    const rotation = this.#meanRotation(index, now);
    groups.forEach((slots, g) => {
      const perHead = range(R).map((r) => {
        const queries = this.#queries[index][g * R + r];
        const mean = range(D).map((i) => sum(queries.map((q) => q[i])) / queries.length);
        const covariance = range(D).map((i) =>
          range(D).map((j) => sum(queries.map((q) => (q[i] - mean[i]) * (q[j] - mean[j]))) / queries.length),
        );
        const logits = slots.map(({ key }) => {
          // R̄ᵀk
          const back = range(D).map((i) => sum(range(D).map((j) => rotation[j][i] * key[j])));
          const variance = sum(range(D).map((i) => back[i] * dot(covariance[i], back)));
          return dot(back, mean) * s + (variance * s * s) / 2;
        });
        return softmax(logits);
      });
      slots.forEach((slot, j) => {
        slot.score = (sum(perHead.map((p) => p[j])) / R) * norm(slot.value);
      });
    });
  }

  /** The mean of the next positions' rotation matrices. */
  #meanRotation(l: number, now: number): number[][] {
    const { headSize: D, layers } = this.model.shape;
    const { horizon = 512 } = this.options;
    const { rotation } = layers[l];
    const mean = range(D).map((i) => range(D).map((j) => Number(i === j)));
    if (rotation === null || rotation === 'varies') return mean;
    const pairs = rotation.inverse.length;
    for (const i of range(pairs)) {
      const [a, b] = rotation.interleave ? [2 * i, 2 * i + 1] : [i, i + pairs];
      const angles = range(horizon).map((t) => (now + 1 + t) * rotation.inverse[i]);
      const cos = (sum(angles.map(Math.cos)) / horizon) * rotation.scale;
      const sin = (sum(angles.map(Math.sin)) / horizon) * rotation.scale;
      mean[a][a] = cos;
      mean[b][b] = cos;
      mean[a][b] = -sin;
      mean[b][a] = sin;
    }
    return mean;
  }

  #isSafe(position: number, { now, phase }: Layer, budget: number): boolean {
    const usesWindow = /snapkv|pyramid/.test(this.options.policy) && phase !== 'decode';
    // A layer with less room than the options were made for has fewer sinks, and then fewer recent tokens.
    const sinks = Math.min(this.sinks, budget - 1);
    const recent = Math.min(usesWindow ? this.window : this.recent, budget - sinks);
    return position < sinks || position > now - recent;
  }

  #eachGroup(layer: Layer, values: number[][], alive: boolean[][], budget: number): number[][] {
    return layer.groups.map((slots, g) => {
      const all = range(slots.length).filter((j) => alive[g][j]);
      if (all.length <= budget) return all;
      const safe = all.filter((j) => this.#isSafe(slots[j].position, layer, budget));
      const rest = all.filter((j) => !safe.includes(j));
      rest.sort((a, b) => values[g][b] - values[g][a] || slots[b].position - slots[a].position);
      const room = budget - safe.length;
      this.#measure(
        rest.map((j) => values[g][j]),
        room,
      );
      return [...safe, ...rest.slice(0, room)].sort((a, b) => a - b);
    });
  }

  /** Groups share: each has its best for itself, the safe ones being the best of all; the rest is one ranking. */
  #allGroups(layer: Layer, values: number[][], alive: boolean[][], budget: number): number[][] {
    const { floor = 0.2 } = this.options;
    const all = layer.groups.map((slots, g) => range(slots.length).filter((j) => alive[g][j]));
    const total = layer.groups.length * budget;
    if (sum(all.map((indices) => indices.length)) <= total) return all;
    const own = Math.max(1, Math.floor(floor * budget));
    const kept: number[][] = [];
    const rest: { g: number; j: number }[] = [];
    layer.groups.forEach((slots, g) => {
      const safe = all[g].filter((j) => this.#isSafe(slots[j].position, layer, budget));
      const others = all[g].filter((j) => !safe.includes(j));
      others.sort((a, b) => values[g][b] - values[g][a] || slots[b].position - slots[a].position);
      const room = Math.max(0, own - safe.length);
      this.#measure(
        others.map((j) => values[g][j]),
        room,
      );
      kept.push([...safe, ...others.slice(0, room)]);
      rest.push(...others.slice(room).map((j) => ({ g, j })));
    });
    const position = ({ g, j }: { g: number; j: number }) => layer.groups[g][j].position;
    rest.sort((a, b) => values[b.g][b.j] - values[a.g][a.j] || position(b) - position(a) || a.g - b.g);
    const room = total - sum(kept.map((indices) => indices.length));
    this.#measure(
      rest.map(({ g, j }) => values[g][j]),
      room,
    );
    for (const { g, j } of rest.slice(0, room)) kept[g].push(j);
    return kept.map((indices) => indices.sort((a, b) => a - b));
  }

  /** How clear the cut through values in their order was. */
  #measure(descending: readonly number[], room: number): void {
    // Sums of ranks are whole numbers: equal ones are equal.
    if (room <= 0 || room >= descending.length || this.options.policy.startsWith('mix')) return;
    const size = Math.max(Math.abs(descending[0]), Math.abs(descending.at(-1)!), Number.MIN_VALUE);
    this.margin = Math.min(this.margin, (descending[room - 1] - descending[room]) / size);
  }
}

/** The inverse of a matrix, by Gauss and Jordan. */
function invert(matrix: number[][]): number[][] {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...range(n).map((j) => Number(i === j))]);
  for (const i of range(n)) {
    const pivot = range(n - i).reduce(
      (best, k) => (Math.abs(rows[i + k][i]) > Math.abs(rows[best][i]) ? i + k : best),
      i,
    );
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    rows[i] = rows[i].map((x) => x / rows[i][i]);
    for (const k of range(n)) if (k !== i) rows[k] = rows[k].map((x, j) => x - rows[k][i] * rows[i][j]);
  }
  return rows.map((row) => row.slice(n));
}

/** Brought to [0, 1]; a constant is 0. */
function unit(values: readonly number[]): number[] {
  const min = Math.min(...values);
  const max = Math.max(...values);
  return values.map((x) => (max > min ? (x - min) / (max - min) : 0));
}

/** Means over `kernel` neighbours; at the edges over those that there are. */
function pool(values: readonly number[], kernel: number): number[] {
  const half = (kernel - 1) / 2;
  return values.map((_, i) => {
    const near = values.slice(Math.max(0, i - half), i + half + 1);
    return sum(near) / near.length;
  });
}

function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}
