/**
 * @file One layer: what mixes tokens and the MLP, with norms around the residual stream, sequential or parallel.
 */
import type { LayerSpec, MixerSpec } from '../config/layer-spec.ts';
import type { MlpSpec } from '../config/mlp-spec.ts';
import type { NormSpec } from '../config/norm-spec.ts';
import { add, mul, scale } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import { type ModelContext, plainParam } from './context.ts';
import { feedForward } from './feed-forward.ts';
import { addLaurel } from './laurel.ts';
import { attentionMamba2 } from './mixers/attention-mamba2.ts';
import { gatedDelta } from './mixers/gated-delta.ts';
import { headExperts } from './mixers/head-experts.ts';
import { mamba } from './mixers/mamba.ts';
import { mamba2 } from './mixers/mamba2.ts';
import { latentAttention } from './mixers/mla.ts';
import { rgLru } from './mixers/rg-lru.ts';
import { type AttentionInputs, type AttentionOutputs, selfAttention } from './mixers/self-attention.ts';
import { type SharedKV, sharedAttention } from './mixers/shared-attention.ts';
import { shortConv } from './mixers/short-conv.ts';
import type { StateInputs } from './mixers/states.ts';
import { norm, type Residual } from './norm.ts';

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

/** Layers that attend to given states are blocks of their own (mixers/cross-attention.ts). */
type BlockMixer = Exclude<MixerSpec['kind'], 'cross-attention'>;

const MIXERS: {
  readonly [K in BlockMixer]: (
    ctx: ModelContext,
    x: Value,
    layer: number,
    spec: Extract<MixerSpec, { kind: K }>,
    inputs: MixerInputs,
  ) => MixerOutputs;
} = {
  'self-attention': (ctx, x, layer, spec, inputs) => selfAttention(ctx, x, layer, spec, inputs.attention!),
  'shared-attention': (ctx, x, layer, spec, { shared }) => sharedAttention(ctx, x, layer, spec, shared!, shared!),
  'head-experts': (ctx, x, layer, spec, inputs) => headExperts(ctx, x, layer, spec, inputs.attention!),
  mla: (ctx, x, layer, spec, inputs) => latentAttention(ctx, x, layer, spec, inputs.attention!),
  'rg-lru': (ctx, x, layer, spec, inputs) => rgLru(ctx, x, layer, spec, inputs.states!),
  'gated-delta': (ctx, x, layer, spec, inputs) => gatedDelta(ctx, x, layer, spec, inputs.states!),
  'short-conv': (ctx, x, layer, spec, inputs) => shortConv(ctx, x, layer, spec, inputs.states!),
  'mamba-1': (ctx, x, layer, spec, inputs) => mamba(ctx, x, layer, spec, inputs.states!),
  'attention-mamba-2': (ctx, x, layer, spec, { attention, states }) =>
    attentionMamba2(ctx, x, layer, spec, { attention: attention!, states: states! }),
  'mamba-2': (ctx, x, layer, spec, inputs) => mamba2(ctx, x, layer, spec, inputs.states!),
};

/** Runs layer `layer` on the stream, which it changes. */
export function block(ctx: ModelContext, stream: Residual, layer: number, inputs: MixerInputs): Partial<MixerOutputs> {
  const { g } = ctx;
  const spec = ctx.config.layers[layer];
  const { norms } = spec;
  const name = `h.${layer}`;
  const before = (norm: NormSpec | null, which: string) =>
    norm ? stream.normed(norm, `${name}.${which}`) : stream.value();
  const mlp = (x: Value, mlpSpec: MlpSpec): Value =>
    branch(
      ctx,
      feedForward(ctx, x, () => stream.value(), mlpSpec, `${name}.mlp`),
      layer,
      spec,
      'mlp',
    );
  if (!spec.mixer) {
    stream.add(mlp(before(norms.beforeMlp, 'norm_2'), spec.mlp!));
    return {};
  }
  const n1 = before(norms.beforeMixer, 'norm_1');
  const mix = MIXERS[spec.mixer.kind as BlockMixer] as (typeof MIXERS)['rg-lru'];
  const out = mix(ctx, n1, layer, spec.mixer as never, inputs);
  const a = branch(ctx, out.y, layer, spec, 'attn');
  if (!spec.mlp) {
    stream.add(a);
    return out;
  }
  if (spec.residual !== 'sequential') {
    const n2 = spec.residual === 'parallel-shared' ? n1 : before(norms.beforeMlp, 'norm_2');
    stream.add(add(g, a, mlp(n2, spec.mlp)));
    return out;
  }
  stream.add(a);
  if (spec.laurel) addLaurel(ctx, stream, n1, layer, spec.laurel.rank);
  if (norms.afterMixerAdd) stream.replaceByNormed(norms.afterMixerAdd, `${name}.norm_1`);
  stream.add(mlp(before(norms.beforeMlp, 'norm_2'), spec.mlp));
  if (norms.afterMlpAdd) stream.replaceByNormed(norms.afterMlpAdd, `${name}.norm_2`);
  return out;
}

/** A branch as it is added to the stream: normalized and scaled where the layer does so. */
function branch(ctx: ModelContext, y: Value, layer: number, spec: LayerSpec, which: 'attn' | 'mlp'): Value {
  const { g, config } = ctx;
  const name = `h.${layer}`;
  const after = which === 'attn' ? spec.norms.afterMixer : spec.norms.afterMlp;
  const afterName = which === 'attn' ? 'post_attention_norm' : 'post_mlp_norm';
  const out = scale(g, after ? norm(ctx, y, after, `${name}.${afterName}`) : y, spec.residualScale);
  return spec.layerScale ? mul(g, out, plainParam(ctx, `${name}.${which}.scale`, [config.nEmbd])) : out;
}
