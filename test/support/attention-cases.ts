/**
 * @file Attention to slots and chunk by its definition, for the tests of both engines.
 */
import { EMPTY_SLOT, HIDDEN } from '../../src/kvcache/slots/slots.ts';

/** Numbers between -1 and 1 that repeat nothing. */
export const noise = (dims: readonly number[], seed: number): Float32Array =>
  Float32Array.from(
    { length: dims.reduce((a, b) => a * b, 1) },
    (_, i) => (Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453) % 1,
  );

export const ATTENTION_CASES = [
  { T: 1, C: 6 },
  { T: 3, C: 6 },
  { T: 20, C: 6 },
  { T: 4, C: 0 },
  { T: 1, C: 0 },
  { T: 70, C: 6 },
  { T: 130, C: 70 },
  { T: 64, C: 0 },
  { T: 64, C: 70 },
  // With slots behind those in use, where the chunk has space.
  { T: 1, C: 12, free: 3 },
  { T: 1, C: 700, free: 70 },
  { T: 10, C: 30, free: 10 },
  { T: 70, C: 100, free: 90 },
].flatMap(({ T, C, free = 0 }) =>
  [
    { B: 1, H: 4, G: 2, groups: 1, window: null, alibi: false, softcap: null },
    { B: 2, H: 4, G: 2, groups: 1, window: 3, alibi: false, softcap: 5 },
    { B: 2, H: 4, G: 2, groups: 2, window: null, alibi: false, softcap: null },
    { B: 1, H: 4, G: 2, groups: 2, window: null, alibi: false, softcap: null },
    { B: 2, H: 4, G: 4, groups: 4, window: null, alibi: true, softcap: null },
    { B: 1, H: 6, G: 2, groups: 2, window: 4, alibi: true, softcap: null },
    { B: 2, H: 3, G: 1, groups: 1, window: null, alibi: true, softcap: null },
    { B: 1, H: 4, G: 2, groups: 1, window: null, alibi: false, softcap: 5, merged: true },
    { B: 2, H: 4, G: 2, groups: 2, window: 4, alibi: false, softcap: null, merged: true },
  ].map((own) => ({ T, C, free, merged: false, ...own })),
);

type AttentionSizes = (typeof ATTENTION_CASES)[number];

/** The inputs of an attend node, its attributes, and what it must give. */
export function attentionCase(c: AttentionSizes) {
  const { B, H, G, T, C, free, groups, window, softcap } = c;
  const [D, Dv] = T === 70 ? [24, 16] : T >= 64 ? [64, 64] : [8, 8];
  const sets = 2;
  const sizes = { B, H, G, T, C, D, Dv, groups };
  const alibi = c.alibi ? Float32Array.from({ length: H }, (_, h) => 0.1 * (h + 1)) : null;
  const [q, k, v] = [noise([B, H, T, D], 1), noise([B, G, T, D], 2), noise([B, G, T, Dv], 3)];
  const [keys, values] = [noise([B, G, C, D], 4), noise([B, G, C, Dv], 5)];
  const positions = Float32Array.from({ length: B * T }, (_, i) => 10 + (i % T) + Math.floor(i / T));
  const reads = window !== null || alibi !== null;
  const slots = Float32Array.from({ length: B * groups * C }, (_, i) =>
    i % 5 === 3 || i % C >= C - free ? (reads ? EMPTY_SLOT : HIDDEN) : reads ? 9 - (i % C) : 0,
  );
  const logTokens = noise([B, groups, C], 8).map((x) => (c.merged ? Math.round(24 * Math.abs(x)) / 8 : 0));
  const queryWeights = noise([B, sets, (H / G) * T], 6);
  // The last row ends earlier than the others.
  const queryMask = Float32Array.from({ length: B * T }, (_, i) => Number(B === 1 || i < B * T - T / 2));
  const eachQuery = Float32Array.from({ length: B * T * T }, (_, i) => Number((i % (T * T)) % (T + 1) === 0));
  const attributes = { scale: 0.3, softcap, window, chunk: null, alibi, buffer: 'float32', layerGroup: 'all' } as const;
  const wanted = reference({
    ...{ q, k, v, keys, values, positions, slots, logTokens, sizes, window, alibi, scale: 0.3, softcap },
    ...{ queryWeights, queryMask, sets },
  });
  const [echoed, echoedKeys] = [noise([B, H, T, D], 7), noise([B, G, T, D], 9)];
  const echoedPositions = positions.map((position) => position + T);
  const echoWanted = echoReference({
    ...{ q: echoed, k, echoedKeys, keys, positions, echoedPositions, slots, logTokens, sizes, window, alibi },
    ...{ scale: 0.3, softcap, counted: queryMask },
  });
  const given = {
    q: [q, [B, H, T, D]],
    k: [k, [B, G, T, D]],
    v: [v, [B, G, T, Dv]],
    positions: [positions, [B, T]],
    slots: [slots, [B, groups, C]],
    logTokens: [logTokens, [B, groups, C]],
    keys: [keys, [B, G, C, D]],
    values: [values, [B, G, C, Dv]],
    queryWeights: [queryWeights, [B, sets, (H / G) * T]],
    queryMask: [queryMask, [B, 1, T]],
    eachQuery: [eachQuery, [B, T, T]],
    echoed: [echoed, [B, H, T, D]],
    echoedKeys: [echoedKeys, [B, G, T, D]],
    echoedPositions: [echoedPositions, [B, T]],
    noEcho: [new Float32Array(0), [B, 0, T]],
    noQuery: [new Float32Array(B * T), [B, 1, T]],
  } as const;
  return { given, attributes, wanted: { ...wanted, echo: echoWanted }, sets, Dv };
}

/** Attention by its definition. Masks and alibi as ops/types.ts says. */
function reference(p: {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  keys: Float32Array;
  values: Float32Array;
  positions: Float32Array;
  slots: Float32Array;
  logTokens: Float32Array;
  sizes: { B: number; H: number; G: number; T: number; C: number; D: number; Dv: number; groups: number };
  window: number | null;
  alibi: Float32Array | null;
  scale: number;
  softcap: number | null;
  queryWeights: Float32Array;
  /** [B, T] */
  queryMask: Float32Array;
  sets: number;
}) {
  const { B, H, G, T, C, D, Dv, groups } = p.sizes;
  const R = H / G;
  const y = new Float32Array(B * T * H * Dv);
  const sums = new Float32Array(B * G * p.sets * (C + T));
  const maxima = new Float32Array(B * G * (C + T));
  const eachMaxima = new Float32Array(B * G * T * (C + T));
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let t = 0; t < T; t++) {
        const gr = Math.floor(h / R);
        const position = p.positions[b * T + t];
        const scores = Array.from({ length: C + T }, (_, s) => {
          const inSlots = (b * groups + (groups === 1 ? 0 : gr)) * C + s;
          const slot = p.slots[inSlots];
          const key =
            s < C ? p.keys.subarray(((b * G + gr) * C + s) * D) : p.k.subarray(((b * G + gr) * T + s - C) * D);
          let dot = 0;
          for (let d = 0; d < D; d++) dot += p.q[((b * H + h) * T + t) * D + d] * key[d];
          let score = dot * p.scale;
          if (p.softcap !== null) score = p.softcap * Math.tanh(score / p.softcap);
          const reads = p.window !== null || p.alibi !== null;
          const at = s < C ? slot : p.positions[b * T + s - C];
          const isSeen =
            s < C
              ? reads
                ? at > (p.window === null ? -0.5 : position - p.window)
                : slot === 0
              : at <= position && (p.window === null || at > position - p.window);
          if (!isSeen) return -Infinity;
          if (s < C) score += p.logTokens[inSlots];
          return p.alibi ? score + p.alibi[h] * (at - position) : score;
        });
        const most = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - most));
        const total = weights.reduce((a, c) => a + c, 0);
        weights.forEach((w, s) => {
          const value =
            s < C ? p.values.subarray(((b * G + gr) * C + s) * Dv) : p.v.subarray(((b * G + gr) * T + s - C) * Dv);
          for (let d = 0; d < Dv; d++) y[(b * T + t) * H * Dv + h * Dv + d] += (w / total) * value[d];
          const weight = w / total;
          const [all, own] = [(b * G + gr) * (C + T) + s, ((b * G + gr) * T + t) * (C + T) + s];
          maxima[all] = Math.max(maxima[all], weight * p.queryMask[b * T + t]);
          eachMaxima[own] = Math.max(eachMaxima[own], weight);
          for (let set = 0; set < p.sets; set++)
            sums[((b * G + gr) * p.sets + set) * (C + T) + s] +=
              (w / total) * p.queryWeights[(b * p.sets + set) * R * T + (h % R) * T + t];
        });
      }
  return { y, sums, maxima, eachMaxima };
}

/** The largest weights of queries that read the chunk once more, by their definition [B, G, C + T]. */
function echoReference(p: {
  q: Float32Array;
  k: Float32Array;
  echoedKeys: Float32Array;
  keys: Float32Array;
  positions: Float32Array;
  echoedPositions: Float32Array;
  slots: Float32Array;
  logTokens: Float32Array;
  sizes: { B: number; H: number; G: number; T: number; C: number; D: number; groups: number };
  window: number | null;
  alibi: Float32Array | null;
  scale: number;
  softcap: number | null;
  /** [B, T]: 0 for padding. */
  counted: Float32Array;
}) {
  const { B, H, G, T, C, D, groups } = p.sizes;
  const R = H / G;
  const out = new Float32Array(B * G * (C + T));
  const reads = p.window !== null || p.alibi !== null;
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let t = 0; t < T; t++) {
        if (p.counted[b * T + t] === 0) continue;
        const gr = Math.floor(h / R);
        const at = p.echoedPositions[b * T + t];
        const score = (keys: Float32Array, row: number, position: number) => {
          let dot = 0;
          for (let d = 0; d < D; d++) dot += p.q[((b * H + h) * T + t) * D + d] * keys[row * D + d];
          const capped = p.softcap === null ? dot * p.scale : p.softcap * Math.tanh((dot * p.scale) / p.softcap);
          if (p.window !== null && position <= at - p.window) return -Infinity;
          return p.alibi ? capped + p.alibi[h] * (position - at) : capped;
        };
        const scores: number[] = [];
        for (let c = 0; c < C; c++) {
          const inSlots = (b * groups + (groups === 1 ? 0 : gr)) * C + c;
          const slot = p.slots[inSlots];
          const isFree = reads ? slot < 0 : slot !== 0;
          const seen = () => score(p.keys, (b * G + gr) * C + c, slot) + p.logTokens[inSlots];
          scores.push(isFree ? -Infinity : seen());
        }
        for (let s = 0; s < T; s++) {
          const isReal = p.counted[b * T + s] > 0;
          scores.push(isReal ? score(p.k, (b * G + gr) * T + s, p.positions[b * T + s]) : -Infinity);
        }
        // The copy of the chunk lies at the positions of the queries that read it.
        for (let s = 0; s < T; s++)
          scores.push(s <= t ? score(p.echoedKeys, (b * G + gr) * T + s, p.echoedPositions[b * T + s]) : -Infinity);
        const most = Math.max(...scores);
        const weights = scores.map((x) => Math.exp(x - most));
        const total = weights.reduce((a, c) => a + c, 0);
        for (let s = 0; s < C + T; s++) {
          const to = (b * G + gr) * (C + T) + s;
          out[to] = Math.max(out[to], weights[s] / total);
        }
      }
  return out;
}

/** The columns of the chunk. @param weights [..., C + T] */
export function ofChunk(weights: Float32Array, C: number, T: number): Float32Array {
  return weights.filter((_, i) => i % (C + T) >= C);
}
