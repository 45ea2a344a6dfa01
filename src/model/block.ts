/**
 * @file One block: what mixes tokens (attention, or what stands in its place) and the MLP, with norms around the residual
 * stream, sequential or parallel.
 */

import type { Value } from '../backends/onnx/builder.ts';
import { add, mul } from '../backends/onnx/ops.ts';
import type { AttentionKind, MlpKind } from '../config/config.ts';
import type { ModelContext } from './context.ts';
import { headExperts } from './mixers/head-experts.ts';
import { type RecurrentInputs, recurrent } from './mixers/rg-lru.ts';
import { type AttentionInputs, type AttentionOutputs, attention } from './mixers/self-attention.ts';
import { gatedMlp, plainMlp } from './mlp.ts';
import { mixtureOfExperts } from './moe.ts';
import { norm, type Residual } from './norm.ts';

/** What the kinds of mixers read. */
export interface MixerInputs {
  readonly attention: AttentionInputs | null;
  readonly recurrent: RecurrentInputs | null;
}

export interface MixerOutputs extends Partial<Omit<AttentionOutputs, 'y'>> {
  /** [B, T, E] */
  readonly y: Value;
  /** States after the chunk, by name. */
  readonly next?: Readonly<Record<string, Value>>;
}

type Mixer = (ctx: ModelContext, x: Value, layer: number, inputs: MixerInputs) => MixerOutputs;

/** Layers that attend to given states are blocks of their own (cross-attention.ts). */
const MIXERS: Readonly<Record<Exclude<AttentionKind, 'cross'>, Mixer>> = {
  self: (ctx, x, layer, inputs) => attention(ctx, x, layer, inputs.attention!),
  experts: (ctx, x, layer, inputs) => headExperts(ctx, x, layer, inputs.attention!),
  recurrent: (ctx, x, layer, inputs) => recurrent(ctx, x, layer, inputs.recurrent!),
};

const MLP_KINDS: Readonly<Record<MlpKind, (ctx: ModelContext, x: Value, name: string) => Value>> = {
  mlp: plainMlp,
  gated: (ctx, x, name) => gatedMlp(ctx, x, name, ctx.config.intermediateSize),
  moe: mixtureOfExperts,
};

/** Runs block `layer` on the stream, which it changes. */
export function block(ctx: ModelContext, stream: Residual, layer: number, inputs: MixerInputs): MixerOutputs {
  const { g, config } = ctx;
  const name = `h.${layer}`;
  const pre = config.normPlacement === 'pre';
  const mix = MIXERS[config.attentionKind[layer] as Exclude<AttentionKind, 'cross'>];
  const mlp = (x: Value) => MLP_KINDS[config.mlpKind[layer]](ctx, x, `${name}.mlp`);
  const branch = (y: Value, which: 'attn' | 'mlp'): Value => {
    const post = which === 'attn' ? config.postAttentionNorm : config.postMlpNorm;
    const postName = which === 'attn' ? 'post_attention_norm' : 'post_mlp_norm';
    let out = post ? norm(ctx, y, config.norm, `${name}.${postName}`) : y;
    if (config.residualMultiplier !== 1) out = mul(g, out, g.scalar(config.residualMultiplier));
    return config.layerScale ? mul(g, out, ctx.plain(`${name}.${which}.scale`, [config.nEmbd])) : out;
  };

  const n1 = pre && config.norm1 ? stream.normed(config.norm, `${name}.norm_1`) : stream.value();
  const out = mix(ctx, n1, layer, inputs);
  const a = branch(out.y, 'attn');

  if (config.parallelResidual) {
    const n2 = config.sharedAttentionNorm ? n1 : stream.normed(config.norm, `${name}.norm_2`);
    stream.add(add(g, a, branch(mlp(n2), 'mlp')));
    return out;
  }
  stream.add(a);
  if (!pre) stream.replaceByNormed(config.norm, `${name}.norm_1`);
  const n2 = pre && config.norm2 ? stream.normed(config.norm, `${name}.norm_2`) : stream.value();
  stream.add(branch(mlp(n2), 'mlp'));
  if (!pre) stream.replaceByNormed(config.norm, `${name}.norm_2`);
  return out;
}
