/**
 * @file What a cache has to know of a model.
 */
import { type Config, windowOf } from '../config/config.ts';
import type { CacheShape, LayerShape } from '../kvcache/shape.ts';
import { range } from '../numbers.ts';
import { ropeFrequencies } from './rope.ts';

export function cacheShape(config: Config): CacheShape {
  const { nLayer, nHead, nQueryGroups, headSize, attentionScale } = config;
  const layers = range(nLayer).map((l) => ({
    slots: true,
    window: windowOf(config, l),
    rotation: rotationOf(config, l),
  }));
  return { nLayer, nHead, nQueryGroups, headSize, attentionScale, layers };
}

/** Scalings whose frequencies are the same at every length. */
const FIXED = ['none', 'linear', 'llama3', 'yarn'];

function rotationOf(config: Config, layer: number): LayerShape['rotation'] {
  if (config.position === 'learned') return 'varies';
  const rope = config.ropes[config.ropeIndices[layer]];
  if (!rope) return null;
  if (rope.sections || !FIXED.includes(rope.scaling.type)) return 'varies';
  return { ...ropeFrequencies(rope, 0), interleave: rope.interleave };
}
