/**
 * @file What a cache has to know of a model.
 */
import { type Config, holdsSlots, isEncoder, windowOf } from '../config/config.ts';
import type { CacheShape, LayerShape } from '../kvcache/shape.ts';
import { crossLayers } from '../model/mixers/cross-attention.ts';
import { recurrentStates } from '../model/mixers/rg-lru.ts';
import { range } from '../util/numbers.ts';
import { ropeFrequencies } from './rope.ts';

export function cacheShape(config: Config): CacheShape {
  const { nLayer, nHead, nQueryGroups, headSize, attentionScale } = config;
  const layers = range(nLayer).map((l) => ({
    slots: !isEncoder(config) && holdsSlots(config, l),
    window: windowOf(config, l),
    rotation: rotationOf(config, l),
  }));
  const states = range(nLayer).flatMap((l) =>
    config.attentionKind[l] === 'recurrent' ? recurrentStates(config, l) : [],
  );
  return { nLayer, nHead, nQueryGroups, headSize, attentionScale, layers, states, cross: crossLayers(config) };
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
