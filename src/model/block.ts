/**
 * @file One layer: what mixes tokens and the MLP, with norms around the residual stream, sequential or parallel.
 */
import type { LayerSpec } from '../config/layer-spec.ts';
import type { MlpSpec } from '../config/mlp-spec.ts';
import type { NormSpec } from '../config/norm-spec.ts';
import { add, mul, scale } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import { type ModelContext, plainParam } from './context.ts';
import { feedForward } from './feed-forward.ts';
import { selfAttention } from './mixers/self-attention.ts';
import type { MixerInputs, MixerOutputs } from './mixers/types.ts';
import { norm, type Residual } from './norm.ts';
import { furtherParts, mixFurther } from './parts.ts';

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
  const out =
    spec.mixer.kind === 'self-attention'
      ? selfAttention(ctx, n1, layer, spec.mixer, inputs.attention!)
      : mixFurther(ctx, n1, layer, spec.mixer, inputs);
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
  if (spec.laurel) furtherParts(ctx).addLaurel(ctx, stream, n1, layer, spec.laurel.rank);
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
