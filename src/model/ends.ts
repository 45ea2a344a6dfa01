/**
 * @file The two ends of the model: what enters the first block, and what becomes of the last one's result.
 */

import type { Value } from '../backends/onnx/builder.ts';
import { add, div, gather, mul, reduceSum, reshape, tanh, transpose } from '../backends/onnx/ops.ts';
import { type Config, rotatedDims } from '../config/config.ts';
import type { ModelContext } from './context.ts';
import { embedding, linear } from './linear.ts';
import type { RopeInputs } from './mixers/self-attention.ts';
import { activate } from './mlp.ts';
import { norm, type Residual } from './norm.ts';

/** cos and sin of each rotary embedding, and which of their rows each token takes. */
export function ropeInputs({ g, config }: ModelContext): RopeInputs[] {
  if (config.ropes.length === 0) return [];
  const index = g.input('ropeIndex', 'int64', ['B', 'T']);
  return config.ropes.map((rope, i) => {
    const shape = ['B*T', rotatedDims(rope) / 2];
    return {
      cos: g.input(`cos.${i}`, 'float32', shape),
      sin: g.input(`sin.${i}`, 'float32', shape),
      index,
      interleave: rope.interleave,
    };
  });
}

/** Which of them a layer rotates by. */
export function ropeOf(config: Config, ropes: readonly RopeInputs[], layer: number): RopeInputs | null {
  return config.ropeIndices[layer] < 0 ? null : ropes[config.ropeIndices[layer]];
}

/** Width of the vectors that a model takes in place of tokens. */
export function vectorWidth({ patch, embedDim }: Config): number {
  return patch ? patch.channels * patch.size ** 2 : embedDim;
}

/** What a sequence of `tokens` (int64 [B, T]), `vectors` or `patches` ([B, T, width]) becomes [B, T, E]. */
export function embed(ctx: ModelContext, source: Value): Value {
  const { g, config } = ctx;
  const { nEmbd: E, embedDim } = config;
  let x = enter(ctx, source);
  if (config.droppedToken !== null) x = mul(g, x, g.input('embedFactors', 'float32', ['B', 'T', 1]));
  if (config.embedScale !== 1) x = mul(g, x, g.scalar(config.embedScale));
  if (embedDim !== E) x = linear(ctx, x, 'project_in', [{ name: 'project_in', out: E }]);
  if (config.position === 'learned') {
    const rows = config.contextLength + config.positionOffset;
    x = add(g, x, gather(g, ctx.plain('wpe.weight', [rows, E]), g.input('places', 'int64', ['B', 'T'])));
  }
  return config.embedNorm ? norm(ctx, x, config.norm, 'wte_norm') : x;
}

function enter(ctx: ModelContext, source: Value): Value {
  const { config } = ctx;
  if (config.input === 'tokens') return embedding(ctx, source, 'wte', config.embedRows, config.embedDim);
  if (config.input === 'vectors') return source;
  // All that comes after sees the image through this small matrix: never quantised.
  return linear(ctx, source, 'patches', [{ name: 'patches', out: config.embedDim }], false, 'float32');
}

/** The stream's end, normalised. */
export function finish({ config }: ModelContext, stream: Residual): Value {
  return config.finalNorm ? stream.normed(config.finalNorm, 'ln_f') : stream.value();
}

/** Logits of rows [N, E] → [N, V]. */
export function head(ctx: ModelContext, rows: Value): Value {
  const { g, config } = ctx;
  const { vocabSize, embedDim, headNorm } = config;
  const name = config.tieEmbeddings ? 'wte' : 'lm_head';
  let x = headNorm ? norm(ctx, rows, headNorm, 'head_norm') : rows;
  if (embedDim !== config.nEmbd) x = linear(ctx, x, 'project_out', [{ name: 'project_out', out: embedDim }]);
  let y = linear(ctx, x, name, [{ name, out: vocabSize }], false, ctx.format, 'lm_head');
  if (config.lmHeadBias) y = add(g, y, ctx.plain('lm_head.bias', [vocabSize]));
  if (config.logitScale !== 1) y = mul(g, y, g.scalar(config.logitScale));
  const cap = config.finalLogitSoftcapping;
  if (cap !== null) y = mul(g, tanh(g, div(g, y, g.scalar(cap))), g.scalar(cap));
  return config.suppressedTokens.length === 0 ? y : add(g, y, suppression(ctx));
}

/** Never, as a logit. */
const NEVER = -1e30;

/** What takes the suppressed tokens out [V]. */
function suppression({ g, config }: ModelContext): Value {
  const bias = new Float32Array(config.vocabSize);
  for (const token of config.suppressedTokens) bias[token] = NEVER;
  return g.constant(bias, [config.vocabSize]);
}

/** The head of masked language models, which has a layer more: logits of x [B, T, E] → [B, T, V]. */
export function maskedHead(ctx: ModelContext, x: Value): Value {
  const { nEmbd: E } = ctx.config;
  const dense = linear(ctx, x, 'head_dense', [{ name: 'head_dense', out: E }], true);
  return head(ctx, activate(ctx, dense));
}

/**
 * The mean of x [B, T, E] over the tokens that count, projected → [B, P].
 * @param counts [B, 1, T]: 1 for a token that counts, 0 for padding.
 */
export function pool(ctx: ModelContext, x: Value, counts: Value): Value {
  const { g, config } = ctx;
  const { nEmbd: E, projectionDim: P } = config;
  const [B] = x.shape;
  const sum = reduceSum(g, mul(g, x, transpose(g, counts, [0, 2, 1])), 1); // [B, 1, E]
  const mean = reshape(g, div(g, sum, reduceSum(g, counts, -1)), [0, E], [B, E]);
  return linear(ctx, mean, 'projection', [{ name: 'projection', out: P }]);
}
