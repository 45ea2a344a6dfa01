/**
 * @file What becomes of the last layer's result: logits, or pooled states.
 */
import { HIDDEN } from '../kvcache/slots/slots.ts';
import { add, scale, softcap, unary } from '../ops/basic.ts';
import { meanPool } from '../ops/layers.ts';
import type { Value } from '../ops/types.ts';
import { type ModelContext, plainParam } from './context.ts';
import { linear, linearOf } from './linear.ts';
import { norm, type Residual } from './norm.ts';

/** The stream's end, normalized. */
export function finish({ config }: ModelContext, stream: Residual): Value {
  return config.finalNorm ? stream.normed(config.finalNorm, 'ln_f') : stream.value();
}

/** Logits of rows [N, E] → [N, V]. */
export function head(ctx: ModelContext, rows: Value): Value {
  const { g, config } = ctx;
  const { vocabSize, embedDim, headNorm } = config;
  const name = config.tieEmbeddings ? 'wte' : 'lm_head';
  let x = headNorm ? norm(ctx, rows, headNorm, 'head_norm') : rows;
  if (embedDim !== config.nEmbd) x = linearOf(ctx, x, 'project_out', embedDim);
  let y = linear(ctx, x, name, [{ name, out: vocabSize }], { hook: 'lm_head' });
  if (config.lmHeadBias) y = add(g, y, plainParam(ctx, 'lm_head.bias', [vocabSize]));
  y = scale(g, y, config.logitScale);
  if (config.finalLogitSoftcapping !== null) y = softcap(g, y, config.finalLogitSoftcapping);
  return config.suppressedTokens.length === 0 ? y : add(g, y, suppression(ctx));
}

/** What takes the suppressed tokens out [V]. */
function suppression({ g, config }: ModelContext): Value {
  const bias = new Float32Array(config.vocabSize);
  for (const token of config.suppressedTokens) bias[token] = HIDDEN;
  return g.constant(bias, [config.vocabSize]);
}

/** The head of masked language models, which has one layer more: logits of x [B, T, E] → [B, T, V]. */
export function maskedHead(ctx: ModelContext, x: Value): Value {
  const dense = linearOf(ctx, x, 'head_dense', ctx.config.nEmbd, { bias: true });
  return head(ctx, unary(ctx.g, ctx.config.activation, dense));
}

/** The mean of x [B, T, E] over the tokens that are no padding, projected → [B, P]. @param mask [B, T] */
export function pool(ctx: ModelContext, x: Value, mask: Value): Value {
  return linearOf(ctx, meanPool(ctx.g, x, mask), 'projection', ctx.config.projectionDim);
}
