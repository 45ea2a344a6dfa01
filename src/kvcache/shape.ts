/**
 * @file What of a model a cache has to know.
 */
import type { BlockCodecs } from './buffers/slot-codec.ts';

/** A model, as far as a cache has to know it: one record a layer. Layers may differ in every number. */
export interface CacheShape {
  readonly layers: readonly LayerShape[];
  /** Recurrent states that layers keep in place of slots. @default [] */
  readonly states?: readonly StateShape[];
  /** Layers that attend to encoder states which the caller gives. @default [] */
  readonly cross?: readonly CrossShape[];
  /** How the engine reads slots. */
  readonly memory?: SlotMemory;
  /** Tokens that the engine wants to read at once, where nothing depends on it but the speed. @default its caller's */
  readonly chunkLength?: number;
  /** What the engine computes of keys for policies. @default the host computes it */
  readonly keyMath?: KeyMath;
}

/** What policies want to know of many keys at once. */
export interface KeyMath {
  readonly forms: KeyForms;
  readonly products: KeyProducts;
}

/**
 * Products of keys with each other: that of keys a and b at `a * stride + b`. The caller may overwrite them; so may the
 * next call.
 * @param keys [count, size]; it may be longer.
 */
export type KeyProducts = (
  keys: Float32Array,
  count: number,
  size: number,
) => { readonly products: Float32Array | Float64Array; readonly stride: number };

/**
 * Of each key x: max(0, xᵀ·A·x) + b·x, for some symmetric matrices A and vectors b.
 * @param keys [count, size]; it may be longer. @param matrices [M, size, size] @param vectors [M, size]
 * @returns [count, M], which may be overwritten by the next call.
 */
export type KeyForms = (
  keys: Float32Array,
  count: number,
  size: number,
  matrices: Float64Array,
  vectors: Float64Array,
) => Float32Array | Float64Array;

/** The memory of slots, as an engine reads it in place. */
export interface SlotMemory {
  /**
   * Where int8, int5 and int4 are ggml's blocks (q8_0, q5_0, q4_0: scale and numbers side by side): what stores them so.
   * @default null: numbers and scales are in arrays of their own
   */
  readonly blocks?: BlockCodecs | null;
}

/** A state: float32 numbers that every chunk changes as a whole. */
export interface StateShape {
  readonly name: string;
  readonly dims: readonly number[];
}

/** A cross-attention layer. */
export interface CrossShape {
  readonly layer: number;
  /** G: key/value heads. */
  readonly groups: number;
  readonly keySize: number;
  readonly valueSize: number;
}

/** What a cache knows of one layer. */
export interface LayerShape {
  /** Whether the layer holds keys and values. Where it does not, the other numbers mean nothing. */
  readonly slots: boolean;
  /** G: key/value heads. Slots are for these, not for query heads. */
  readonly groups: number;
  /** H: query heads, a multiple of `groups`. */
  readonly heads: number;
  /** Numbers of a key. */
  readonly keySize: number;
  /** Numbers of a value; 0: the values are a part of the keys (multi-head latent attention). */
  readonly valueSize: number;
  /** What q·k is multiplied with. */
  readonly attentionScale: number;
  /** Its sliding window, or null: it sees everything. */
  readonly window: number | null;
  /** How its keys are rotated; null: not at all; `varies`: by frequencies that depend on the length of the sequence. */
  readonly rotation: RotationShape | 'varies' | null;
}

/** A rotary embedding, as far as it takes to turn a key from one position to another. */
export interface RotationShape {
  /** Radians per position, one a pair. */
  readonly inverse: Float32Array;
  /** What cos and sin are multiplied with. */
  readonly scale: number;
  /** Pairs (2i, 2i+1) instead of (i, i + pairs). */
  readonly interleave: boolean;
}

/**
 * Turns the first dimensions of a key from one position to another, in place; the rest is unchanged. Angles are those
 * that the model makes of positions, in float32: otherwise their rounding would show, in the third digit at position
 * 100,000.
 */
export function turnKey(key: Float32Array, { inverse, interleave }: RotationShape, from: number, to: number): void {
  const pairs = inverse.length;
  for (let i = 0; i < pairs; i++) {
    const angle = Math.fround(to * inverse[i]) - Math.fround(from * inverse[i]);
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    const [a, b] = interleave ? [2 * i, 2 * i + 1] : [i, i + pairs];
    const [x, y] = [key[a], key[b]];
    key[a] = x * cos - y * sin;
    key[b] = y * cos + x * sin;
  }
}
