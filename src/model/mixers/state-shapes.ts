/**
 * @file The states that a model's layers keep in place of slots. They are not beside their mixers, so that a page can load
 * those later.
 */
import type { GatedDelta, Mamba, Mamba2, MixerSpec, RgLru, ShortConv } from '../../config/layer-spec.ts';
import type { StateShape } from '../../kvcache/shape.ts';

/** What a cache keeps for layer `layer`; nothing for a mixer without a state. */
export function statesOf(mixer: MixerSpec | null, layer: number): readonly StateShape[] {
  switch (mixer?.kind) {
    case 'rg-lru':
      return rgLruStates(mixer, layer);
    case 'gated-delta':
      return gatedDeltaStates(mixer, layer);
    case 'short-conv':
      return shortConvStates(mixer, layer);
    case 'mamba-1':
      return mambaStates(mixer, layer);
    case 'mamba-2':
      return mamba2States(mixer, layer);
    case 'attention-mamba-2':
      return mamba2States(mixer.ssm, layer);
    default:
      return [];
  }
}

/** The state of a convolution over `channels` values a token: its last inputs. */
function convState(layer: number, width: number, channels: number): StateShape {
  return { name: `conv.${layer}`, dims: [width - 1, channels] };
}

export function rgLruStates({ width: W, convWidth }: RgLru, layer: number): [conv: StateShape, h: StateShape] {
  return [convState(layer, convWidth, W), { name: `h.${layer}`, dims: [W] }];
}

export function gatedDeltaStates(spec: GatedDelta, layer: number): [conv: StateShape, matrix: StateShape] {
  const { keyHeads, valueHeads, keySize, valueSize, convWidth } = spec;
  return [
    convState(layer, convWidth, 2 * keyHeads * keySize + valueHeads * valueSize),
    { name: `delta.${layer}`, dims: [valueHeads, valueSize, keySize] },
  ];
}

export function shortConvStates({ width, convWidth }: ShortConv, layer: number): [conv: StateShape] {
  return [convState(layer, convWidth, width)];
}

export function mambaStates(
  { width, stateSize, convWidth }: Mamba,
  layer: number,
): [conv: StateShape, ssm: StateShape] {
  return [convState(layer, convWidth, width), { name: `ssm.${layer}`, dims: [width, 1, stateSize] }];
}

export function mamba2States(spec: Mamba2, layer: number): [conv: StateShape, ssm: StateShape] {
  const { heads, headSize, groups, stateSize, convWidth } = spec;
  return [
    convState(layer, convWidth, heads * headSize + 2 * groups * stateSize),
    { name: `ssm.${layer}`, dims: [heads, headSize, stateSize] },
  ];
}
