/**
 * @file One decoder block: norms, attention and MLP around the residual stream, sequential or parallel.
 */
import type { MlpKind } from '../config/config.ts';
import type { Value } from '../graph/builder.ts';
import { add, mul } from '../graph/ops.ts';
import { type AttentionInputs, type AttentionOutputs, attention } from './attention.ts';
import type { ModelContext } from './context.ts';
import { gatedMlp, plainMlp } from './mlp.ts';
import { mixtureOfExperts } from './moe.ts';
import { norm, type Residual } from './norm.ts';

const MLP_KINDS: Readonly<Record<MlpKind, (ctx: ModelContext, x: Value, name: string) => Value>> = {
  mlp: plainMlp,
  gated: (ctx, x, name) => gatedMlp(ctx, x, name, ctx.config.intermediateSize),
  moe: mixtureOfExperts,
};

/** Runs block `layer` on the stream, which it changes. */
export function block(ctx: ModelContext, stream: Residual, layer: number, inputs: AttentionInputs): AttentionOutputs {
  const { g, config } = ctx;
  const name = `h.${layer}`;
  const pre = config.normPlacement === 'pre';
  const mlp = (x: Value) => MLP_KINDS[config.mlpKind[layer]](ctx, x, `${name}.mlp`);
  const branch = (y: Value, post: boolean, postName: string): Value => {
    const normed = post ? norm(ctx, y, config.norm, `${name}.${postName}`) : y;
    return config.residualMultiplier === 1 ? normed : mul(g, normed, g.scalar(config.residualMultiplier));
  };

  const n1 = pre && config.norm1 ? stream.normed(config.norm, `${name}.norm_1`) : stream.value();
  const out = attention(ctx, n1, layer, inputs);
  const a = branch(out.y, config.postAttentionNorm, 'post_attention_norm');

  if (config.parallelResidual) {
    const n2 = config.sharedAttentionNorm ? n1 : stream.normed(config.norm, `${name}.norm_2`);
    stream.add(add(g, a, branch(mlp(n2), config.postMlpNorm, 'post_mlp_norm')));
    return out;
  }
  stream.add(a);
  if (!pre) stream.replaceByNormed(config.norm, `${name}.norm_1`);
  const n2 = pre && config.norm2 ? stream.normed(config.norm, `${name}.norm_2`) : stream.value();
  stream.add(branch(mlp(n2), config.postMlpNorm, 'post_mlp_norm'));
  if (!pre) stream.replaceByNormed(config.norm, `${name}.norm_2`);
  return out;
}
