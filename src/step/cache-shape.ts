/**
 * @file What a cache has to know of a model.
 */
import { type Config, isEncoder } from '../config/config.ts';
import { type LayerSpec, slotSpec } from '../config/layer-spec.ts';
import type { CacheShape, LayerShape } from '../kvcache/shape.ts';
import { crossLayers, crossOf } from '../model/mixers/cross-attention.ts';
import { statesOf } from '../model/mixers/state-shapes.ts';
import type { GraphTarget } from '../ops/target.ts';
import { ropeFrequencies } from './rope.ts';

/** @param target what the engine reads: it decides how slots are stored. */
export function cacheShape(
  config: Config,
  { slotBlocks: blocks, chunkLength }: Pick<GraphTarget, 'slotBlocks' | 'chunkLength'>,
): CacheShape {
  const layers = config.layers.map(({ mixer }, l) => layerShape(config, mixer, l));
  const states = config.layers.flatMap(({ mixer }, l) => statesOf(mixer, l));
  const cross = crossLayers(config).map((layer) => {
    const { groups, keySize, valueSize } = crossOf(config.layers[layer])!;
    return { layer, groups, keySize, valueSize };
  });
  return { layers, states, cross, memory: { blocks }, chunkLength };
}

function layerShape(config: Config, mixer: LayerSpec['mixer'], layer: number): LayerShape {
  const slots = slotSpec(mixer);
  if (isEncoder(config) || !slots) return NO_SLOTS;
  const { groups, heads, keySize, valueSize, scale: attentionScale } = slots;
  return {
    slots: true,
    groups,
    heads,
    keySize,
    valueSize,
    attentionScale,
    // Tokens before the chunk of the last one are out of reach of all later ones; those of a window's length are kept.
    window: slots.window ?? slots.chunk,
    rotation: rotationOf(config, layer),
  };
}

const NO_SLOTS: LayerShape = {
  slots: false,
  groups: 0,
  heads: 0,
  keySize: 0,
  valueSize: 0,
  attentionScale: 0,
  window: null,
  rotation: null,
};

/** Scalings whose frequencies are the same at every length. */
const FIXED = ['none', 'linear', 'proportional', 'llama3', 'yarn'];

function rotationOf(config: Config, layer: number): LayerShape['rotation'] {
  if (config.position === 'learned') return 'varies';
  const index = config.layers[layer].rope;
  if (index === null) return null;
  const rope = config.ropes[index];
  if (rope.sections || !FIXED.includes(rope.scaling.type)) return 'varies';
  return { ...ropeFrequencies(rope, 0), interleave: rope.interleave };
}
