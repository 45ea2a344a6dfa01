/**
 * @file Keys, values and queries of a model that there isn't: random numbers that follow from layer, head, position and
 * token, so that a test can say what any slot must hold.
 */
import { blockCodec } from '../../src/kvcache/buffers/blocks.ts';
import type { CacheShape, RotationShape } from '../../src/kvcache/shape.ts';
import { range } from '../../src/util/numbers.ts';

/** What a test may want to be special. */
export interface FakeQuirks {
  /** `constant`: all keys of a layer and group are the same; `zero`: they have no direction. */
  readonly keys?: 'random' | 'constant' | 'zero';
  /** `signs`: of 1 and -1 only, so that all have exactly the same norm. */
  readonly values?: 'random' | 'signs';
  /** `zero`: every query pays the same to all that it sees. */
  readonly queries?: 'random' | 'zero';
}

/** A shape in few words. */
export interface FakeShape {
  /** One a layer: its sliding window, or null. */
  readonly windows: readonly (number | null)[];
  readonly groups: number;
  /** R: query heads of a group. */
  readonly heads: number;
  readonly headSize: number;
  readonly rotation?: RotationShape | 'varies' | null;
  /** Whether quantized slots are blocks of ggml. @default false */
  readonly blocks?: boolean;
  /** Sizes of single layers, in place of the others. */
  readonly sizes?: readonly Partial<FakeSizes>[];
}

/** What layers may differ in. `heads` are those of a group. */
export interface FakeSizes {
  readonly groups: number;
  readonly heads: number;
  readonly keySize: number;
  readonly valueSize: number;
}

/** A shape, and the numbers that all of its layers have unless they have their own. */
export interface FakeCacheShape extends CacheShape {
  readonly nLayer: number;
  readonly nHead: number;
  readonly nQueryGroups: number;
  readonly headSize: number;
}

export function fakeShape(shape: FakeShape): FakeCacheShape {
  const { windows, groups, heads, headSize, rotation = null, blocks = false, sizes = [] } = shape;
  return {
    nLayer: windows.length,
    nHead: groups * heads,
    nQueryGroups: groups,
    headSize,
    memory: { blocks: blocks ? blockCodec : null },
    layers: windows.map((window, l) => {
      const { groups: G = groups, heads: R = heads, keySize = headSize, valueSize = headSize } = sizes[l] ?? {};
      const attentionScale = 1 / Math.sqrt(keySize);
      return { slots: true, groups: G, heads: G * R, keySize, valueSize, attentionScale, window, rotation };
    }),
  };
}

/** A rotary embedding of all of a head. */
export function fakeRotation(headSize: number, interleave = false): RotationShape {
  const pairs = Math.floor(headSize / 2);
  return { inverse: Float32Array.from(range(pairs), (i) => 30 ** (-i / pairs)), scale: 1, interleave };
}

export class FakeModel {
  readonly shape: FakeCacheShape;
  readonly seed: number;
  readonly quirks: FakeQuirks;
  readonly #known = new Map<string, Float32Array>();

  constructor(shape: FakeCacheShape, seed: number, quirks: FakeQuirks = {}) {
    this.shape = shape;
    this.seed = seed;
    this.quirks = quirks;
  }

  /** @param place the position that it is rotated to. */
  key(layer: number, group: number, position: number, token: number, place = position): Float32Array {
    const { keys = 'random' } = this.quirks;
    const at = keys === 'constant' ? [0, 0] : [position, token];
    return this.#once(`k${layer},${group},${at},${place}`, () =>
      keys === 'zero'
        ? new Float32Array(this.#sizeOf(layer, 'key'))
        : this.#rotate(this.#vector(this.#sizeOf(layer, 'key'), 1, layer, group, ...at), layer, place),
    );
  }

  value(layer: number, group: number, position: number, token: number): Float32Array {
    return this.#once(`v${layer},${group},${position},${token}`, () => {
      const value = this.#vector(this.#sizeOf(layer, 'value'), 2, layer, group, position, token);
      return this.quirks.values === 'signs' ? value.map((x) => (x < 0 ? -1 : 1)) : value;
    });
  }

  /** As it is before it is rotated. */
  plainQuery(layer: number, head: number, position: number, token: number): Float32Array {
    return this.#once(`q${layer},${head},${position},${token}`, () => {
      const query = this.#vector(this.#sizeOf(layer, 'key'), 3, layer, head, position, token).map((x) => 2 * x);
      return this.quirks.queries === 'zero' ? query.fill(0) : query;
    });
  }

  query(layer: number, head: number, position: number, token: number, place = position): Float32Array {
    return this.#once(`r${layer},${head},${position},${token},${place}`, () =>
      this.#rotate(this.plainQuery(layer, head, position, token), layer, place),
    );
  }

  /** Numbers are made once: caches and references ask for the same ones. */
  #once(name: string, make: () => Float32Array): Float32Array {
    let vector = this.#known.get(name);
    if (!vector) {
      vector = make();
      this.#known.set(name, vector);
    }
    return vector;
  }

  #sizeOf(layer: number, half: 'key' | 'value'): number {
    const { keySize, valueSize } = this.shape.layers[layer];
    return half === 'key' ? keySize : valueSize;
  }

  #vector(length: number, ...parts: number[]): Float32Array {
    const random = numbers(hash(this.seed, ...parts));
    // Three uniform numbers are normal enough.
    return Float32Array.from({ length }, () => 2 * (random() + random() + random()) - 3);
  }

  #rotate(x: Float32Array, layer: number, place: number): Float32Array {
    const { rotation } = this.shape.layers[layer];
    if (rotation === null || rotation === 'varies') return x;
    const { inverse, interleave, scale } = rotation;
    const out = x.slice();
    for (const [i, frequency] of inverse.entries()) {
      const a = interleave ? 2 * i : i;
      const b = interleave ? 2 * i + 1 : i + inverse.length;
      const [cos, sin] = [Math.cos(place * frequency) * scale, Math.sin(place * frequency) * scale];
      out[a] = x[a] * cos - x[b] * sin;
      out[b] = x[b] * cos + x[a] * sin;
    }
    return out;
  }
}

/** One number of several. */
function hash(...parts: number[]): number {
  let h = 0x9e3779b9;
  for (const part of parts) {
    h = Math.imul(h ^ (part + 0x7f4a7c15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h ^= h >>> 16;
  }
  return h;
}

/** Mulberry32: numbers from 0 to 1. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
