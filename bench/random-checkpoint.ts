/**
 * @file A checkpoint that lies nowhere: its values are made when they are read, the same ones each time.
 */
import type { Checkpoint, StoredTensor } from '../src/checkpoint/types.ts';
import { CheckpointError } from '../src/util/errors.ts';
import { layout, type ShapeConfig } from './shapes.ts';

/** Spread of the matrices' values (standard deviation, uniformly distributed), as a model starts out. */
const SPREAD = 0.02;
/** Norms lie within this distance of 1. */
const NORM_SPREAD = 0.05;

/** A checkpoint of the given shape with random weights; the same seed gives the same values. */
export function randomCheckpoint(config: ShapeConfig, seed: number): Checkpoint {
  const tensors = new Map<string, StoredTensor>();
  for (const { name, shape } of layout(config)) tensors.set(name, randomTensor(name, shape, seed));
  return {
    name: `random ${config.model_type}`,
    config,
    tensors,
    identity: `random-1:${seed}:${JSON.stringify(config)}`,
    fingerprint: async () => `random-1:${seed}:${JSON.stringify(config)}`,
    readJson: async () => undefined,
    readText: async () => undefined,
    close: async () => {},
  };
}

function randomTensor(name: string, shape: readonly number[], seed: number): StoredTensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const key = hashName(name, seed);
  const [center, half] = shape.length === 1 ? [1, NORM_SPREAD] : [0, SPREAD * Math.sqrt(3)];
  return {
    name,
    dtype: 'F32',
    shape,
    async readFloats(start, count) {
      if (start < 0 || count < 0 || start + count > size) {
        throw new CheckpointError(`${name}: values ${start} to ${start + count} were asked for, it has ${size}`);
      }
      const out = new Float32Array(count);
      fill(out, start, key, center, half / 2 ** 31);
      return out;
    },
  };
}

/** Mixes each index with the tensor's key into 32 bits, and scales these. */
function fill(out: Float32Array, start: number, key: number, center: number, scale: number): void {
  for (let i = 0; i < out.length; i++) {
    let x = Math.imul((start + i) ^ key, 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    out[i] = center + (x ^ (x >>> 16)) * scale;
  }
}

/** FNV-1a over the name, begun at the seed. */
function hashName(name: string, seed: number): number {
  let hash = 0x811c9dc5 ^ Math.imul(seed, 0x9e3779b1);
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}
