/**
 * @file What a cache has to know of a model.
 */
import { type Config, isEncoder } from '../config/config.ts';
import { keepsSlots } from '../config/layer-spec.ts';
import type { CacheShape, LayerShape } from '../kvcache/shape.ts';
import { crossLayers } from '../model/mixers/cross-attention.ts';
import { rgLruStates } from '../model/mixers/rg-lru.ts';
import { ropeFrequencies } from './rope.ts';

export function cacheShape(config: Config): CacheShape {
  const { nLayer, nHead, nQueryGroups, headSize, attentionScale } = config;
  const layers = config.layers.map(({ mixer }, l) => ({
    slots: !isEncoder(config) && keepsSlots(mixer),
    window: keepsSlots(mixer) ? mixer.window : null,
    rotation: rotationOf(config, l),
  }));
  const states = config.layers.flatMap(({ mixer }, l) => (mixer?.kind === 'rg-lru' ? rgLruStates(mixer, l) : []));
  return { nLayer, nHead, nQueryGroups, headSize, attentionScale, layers, states, cross: crossLayers(config) };
}

/** Scalings whose frequencies are the same at every length. */
const FIXED = ['none', 'linear', 'llama3', 'yarn'];

function rotationOf(config: Config, layer: number): LayerShape['rotation'] {
  if (config.position === 'learned') return 'varies';
  const index = config.layers[layer].rope;
  if (index === null) return null;
  const rope = config.ropes[index];
  if (rope.sections || !FIXED.includes(rope.scaling.type)) return 'varies';
  return { ...ropeFrequencies(rope, 0), interleave: rope.interleave };
}
