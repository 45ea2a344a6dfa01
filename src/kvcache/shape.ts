/**
 * @file What of a model a cache has to know.
 */

export interface CacheShape {
  readonly nLayer: number;
  /** H: query heads. */
  readonly nHead: number;
  /** G: key/value heads; slots are for these, not for query heads. */
  readonly nQueryGroups: number;
  /** D */
  readonly headSize: number;
  /** What q·k is multiplied with. */
  readonly attentionScale: number;
  readonly layers: readonly LayerShape[];
  /** What layers keep in place of slots; none unless stated. */
  readonly states?: readonly StateShape[];
  /** Layers that attend to states which the caller gives; none unless stated. */
  readonly cross?: readonly number[];
}

/** A state: float32 numbers that every chunk changes as a whole. */
export interface StateShape {
  readonly name: string;
  readonly dims: readonly number[];
}

export interface LayerShape {
  /** Whether the layer holds keys and values. */
  readonly slots: boolean;
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
 * Turns the first dimensions of a key from one position to another, in place; the rest passes through. Angles are those that the
 * model makes of positions, in float32: otherwise their rounding would show, in the third digit at position 100,000.
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
