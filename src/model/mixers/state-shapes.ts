/**
 * @file The states that a model's layers keep in place of slots.
 */
import type { MixerSpec } from '../../config/layer-spec.ts';
import type { StateShape } from '../../kvcache/shape.ts';
import { gatedDeltaStates } from './gated-delta.ts';
import { mambaStates } from './mamba.ts';
import { mamba2States } from './mamba2.ts';
import { rgLruStates } from './rg-lru.ts';
import { shortConvStates } from './short-conv.ts';

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
