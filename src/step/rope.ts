/**
 * @file Rotary embeddings on the host: frequencies for every scaling, and the cos and sin of a step's positions.
 *
 * One rule for all families: n elements (trunc(headSize · fraction), or a stated width), ceil(n / 2) pairs with
 * frequencies base^(-2i / n); for an odd n one dimension more rotates, so that rotation stays a rotation. Angles are
 * made in float32, as checkpoints were trained.
 */
import { positionStreams, type RopeSpec } from '../config/config.ts';
import { range } from '../util/numbers.ts';

/** The frequencies of one rotary embedding. */
export interface RopeFrequencies {
  /** One a pair, in radians per position. */
  readonly inverse: Float32Array;
  /** What cos and sin are multiplied with. */
  readonly scale: number;
}

/**
 * Which frequencies hold for a sequence of `length` tokens. Scalings that do not depend on it always say the same; keys
 * that were rotated under another variant do not fit.
 */
export function ropeVariant(rope: RopeSpec, length: number): string {
  const { scaling } = rope;
  if (scaling.type === 'dynamic') return length > scaling.maxSeq ? String(length) : '';
  if (scaling.type === 'longrope') return length > scaling.origMaxSeq ? 'long' : '';
  return '';
}

/**
 * Sources: families' formulas as in transformers' modeling_rope_utils; YaRN: arXiv 2309.00071; LongRoPE:
 * arXiv 2402.13753.
 */
export function ropeFrequencies(rope: RopeSpec, length: number): RopeFrequencies {
  const { nElem: n, scaling: s } = rope;
  const pairs = Math.ceil(n / 2);
  const sign = rope.reverse ? -1 : 1;
  const make = (frequency: (i: number, plain: number) => number, scale = 1, base = rope.base): RopeFrequencies => {
    const inverse = new Float32Array(pairs);
    for (let i = 0; i < pairs; i++)
      inverse[i] = sign * frequency(i, Math.fround(1 / Math.fround(base ** Math.fround((2 * i) / n))));
    return { inverse, scale };
  };
  switch (s.type) {
    case 'none':
      return make((_, plain) => plain);
    case 'linear':
      return make((_, plain) => plain / s.factor);
    case 'proportional':
      return make((i, plain) => (i < s.pairs ? plain / s.factor : 0));
    case 'dynamic': {
      const stretched = (s.factor * Math.max(length, s.maxSeq)) / s.maxSeq - (s.factor - 1);
      return make((_, plain) => plain, 1, rope.base * stretched ** (n / (n - 2)));
    }
    case 'llama3':
      return make((_, plain) => {
        const turns = (s.origMaxSeq * plain) / (2 * Math.PI);
        const smooth = Math.min(1, Math.max(0, (turns - s.lowFreq) / Math.max(s.highFreq - s.lowFreq, 1e-9)));
        return ((1 - smooth) * plain) / s.factor + smooth * plain;
      });
    case 'yarn': {
      const dim = (rotations: number) =>
        (n * Math.log(s.origMaxSeq / (rotations * 2 * Math.PI))) / (2 * Math.log(rope.base));
      const [from, to] = [dim(s.betaFast), dim(s.betaSlow)];
      const low = Math.max(s.truncate ? Math.floor(from) : from, 0);
      const end = Math.min(s.truncate ? Math.ceil(to) : to, n - 1);
      const high = end === low ? end + 0.001 : end;
      return make((i, plain) => {
        const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
        return (plain / s.factor) * ramp + plain * (1 - ramp);
      }, s.attentionFactor);
    }
    case 'longrope': {
      const long = length > s.origMaxSeq;
      const factors = long ? s.long : s.short;
      return make(
        (i) =>
          Math.fround(1 / Math.fround(Math.fround(factors[i]) * Math.fround(rope.base ** Math.fround((2 * i) / n)))),
        long ? s.attnFactorLong : s.attnFactorShort,
      );
    }
  }
}

/** What each pair rotates by: which of the token's positions, and which of the frequencies. */
export function ropePairs({ nElem, sections, alternate, byTurns }: RopeSpec): { stream: number; frequency: number }[] {
  const pairs = range(Math.ceil(nElem / 2));
  if (!sections) return pairs.map((i) => ({ stream: 0, frequency: i }));
  if (byTurns) {
    const count = sections.length;
    return pairs.map((i) => ({ stream: i < count * sections[i % count] ? i % count : 0, frequency: i }));
  }
  const ofSections = sections.flatMap((count, stream) => range(count).map((nth) => ({ stream, nth })));
  return pairs.map((i) => {
    const { stream, nth } = ofSections[i];
    return { stream, frequency: alternate ? nth * sections.length + stream : i };
  });
}

/** cos and sin of positions. */
export class RopeTable {
  readonly pairs: number;
  /** How many positions a token has. */
  readonly streams: number;
  readonly #rope: RopeSpec;
  readonly #order: readonly { stream: number; frequency: number }[];
  #variant: string | null = null;
  #frequencies!: RopeFrequencies;

  constructor(rope: RopeSpec) {
    this.#rope = rope;
    this.pairs = Math.ceil(rope.nElem / 2);
    this.streams = positionStreams(rope);
    this.#order = ropePairs(rope);
  }

  /**
   * Writes cos and sin of one token [pairs] at `offset`.
   * @param position of the token; or several, one for each stream.
   * @param length of the whole sequence, as far as it is known.
   */
  write(
    cos: Float32Array,
    sin: Float32Array,
    offset: number,
    position: number | ArrayLike<number>,
    length: number,
  ): void {
    const variant = ropeVariant(this.#rope, length);
    if (variant !== this.#variant) {
      this.#frequencies = ropeFrequencies(this.#rope, length);
      this.#variant = variant;
    }
    const { inverse, scale } = this.#frequencies;
    for (let i = 0; i < this.pairs; i++) {
      const { stream, frequency } = this.#order[i];
      const at = typeof position === 'number' ? position : position[stream];
      const angle = Math.fround(at * inverse[frequency]);
      cos[offset + i] = Math.fround(Math.cos(angle)) * scale;
      sin[offset + i] = Math.fround(Math.sin(angle)) * scale;
    }
  }
}
