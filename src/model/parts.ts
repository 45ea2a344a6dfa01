/**
 * @file Parts of models that most families do without. They are a module that is loaded by itself (further.ts): pages
 * whose models have none of them do without its code.
 */
import type { Config } from '../config/config.ts';
import type { LayerSpec, MixerSpec } from '../config/layer-spec.ts';
import type { Value } from '../ops/types.ts';
import { GraphError } from '../util/errors.ts';
import type { FurtherParts, ModelContext } from './context.ts';
import type { FurtherMixer, MixerInputs, MixerOutputs, PlainMixer } from './mixers/types.ts';

const PLAIN: Readonly<Record<PlainMixer, true>> = { 'self-attention': true, 'cross-attention': true };

/** Whether a model has any of them. */
export function hasFurtherParts({ layers, altUp, perLayerInput }: Config): boolean {
  return !!(altUp || perLayerInput) || layers.some(isFurther);
}

const isFurther = ({ mixer, mlp, laurel, outScale }: LayerSpec): boolean =>
  !!((mixer && !(mixer.kind in PLAIN)) || mlp?.kind === 'moe' || laurel || outScale);

/** @throws GraphError where the model is traced without them. */
export function furtherParts({ parts, config }: ModelContext): FurtherParts {
  if (!parts) throw new GraphError(`${config.name} models have parts of model/further.ts, which were not given`);
  return parts;
}

/** Runs a mixer of any kind but the plain ones. */
export function mixFurther(
  ctx: ModelContext,
  x: Value,
  layer: number,
  spec: MixerSpec,
  inputs: MixerInputs,
): MixerOutputs {
  const mix = furtherParts(ctx).mixers[spec.kind as FurtherMixer] as FurtherParts['mixers']['rg-lru'];
  return mix(ctx, x, layer, spec as never, inputs);
}
