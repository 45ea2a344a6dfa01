/**
 * @file Parts of models that most families do without. They are a module that is loaded by itself: pages whose models
 * have none of them do without its code.
 */
import type { Config } from '../config/config.ts';
import type { MixerSpec } from '../config/layer-spec.ts';
import type { Value } from '../ops/types.ts';
import { InputError } from '../util/errors.ts';
import type { AltUp } from './alt-up.ts';
import type { ModelContext } from './context.ts';
import type { AttentionInputs, AttentionOutputs } from './mixers/self-attention.ts';
import type { SharedKV } from './mixers/shared-attention.ts';
import type { StateInputs } from './mixers/states.ts';
import type { mixtureOfExperts } from './moe.ts';

/** What the kinds of mixers read. */
export interface MixerInputs {
  readonly attention: AttentionInputs | null;
  readonly states: StateInputs | null;
  /** Of the layer whose keys and values this one reads, and the rotation of its queries. */
  readonly shared: (SharedKV & Pick<AttentionInputs, 'rotation'>) | null;
}

export interface MixerOutputs extends Partial<Omit<AttentionOutputs, 'y'>> {
  /** [B, T, E] */
  readonly y: Value;
  /** States after the chunk, by name. */
  readonly next?: Readonly<Record<string, Value>>;
}

/** What further.ts has. */
export interface FurtherParts {
  /** Runs a mixer of any kind but self-attention. */
  readonly mix: (ctx: ModelContext, x: Value, layer: number, spec: MixerSpec, inputs: MixerInputs) => MixerOutputs;
  readonly mixtureOfExperts: typeof mixtureOfExperts;
  readonly AltUp: typeof AltUp;
}

let loaded: FurtherParts | null = null;

/** Makes {@link furtherParts} possible. */
export function useParts(parts: FurtherParts): void {
  loaded = parts;
}

export function furtherParts(): FurtherParts {
  if (!loaded) throw new InputError('the module of further parts is not loaded: load the model with its plan');
  return loaded;
}

/** Whether a model has any of them. Layers that attend to given states are blocks of gpt.ts. */
export function hasFurtherParts({ layers, altUp }: Config): boolean {
  const plain = [undefined, 'self-attention', 'cross-attention'];
  return altUp !== undefined || layers.some(({ mixer, mlp }) => !plain.includes(mixer?.kind) || mlp?.kind === 'moe');
}
