/**
 * @file What enters the first layer.
 */
import { type Config, type RopeSpec, rotatedDims } from '../config/config.ts';
import type { Rotation } from '../ops/attention.ts';
import { add, gatherRows, mul, scale } from '../ops/basic.ts';
import { INPUT } from '../ops/step-names.ts';
import type { Value } from '../ops/types.ts';
import { type ModelContext, plainParam } from './context.ts';
import { embedding, linearOf } from './linear.ts';
import { norm } from './norm.ts';

/** cos and sin of each rotary embedding, and which of their rows each token takes. */
export function rotations({ g, config }: ModelContext): Rotation[] {
  if (config.ropes.length === 0) return [];
  const index = g.input('ropeIndex', 'int64', ['B', 'T']);
  return config.ropes.map((rope, i) => {
    const shape = ['B*T', rotatedDims(rope) / 2];
    return {
      cos: g.input(INPUT.cos(i), 'float32', shape),
      sin: g.input(INPUT.sin(i), 'float32', shape),
      index,
      interleave: rope.interleave,
      scaled: isScaled(rope),
    };
  });
}

/** Whether rotated queries and keys are longer than they were, at any length of the sequence. */
function isScaled({ scaling }: RopeSpec): boolean {
  if (scaling.type === 'yarn') return scaling.attentionFactor !== 1;
  return scaling.type === 'longrope' && (scaling.attnFactorShort !== 1 || scaling.attnFactorLong !== 1);
}

/** The same for the positions of the echo. */
export function echoedRotations({ g }: ModelContext, ropes: readonly Rotation[]): Rotation[] {
  return ropes.map(({ cos, sin, ...rotation }, i) => ({
    ...rotation,
    cos: g.input(INPUT.echo(INPUT.cos(i)), 'float32', cos.shape),
    sin: g.input(INPUT.echo(INPUT.sin(i)), 'float32', sin.shape),
  }));
}

/** Width of the vectors that a model takes in place of tokens. */
export function vectorWidth({ patch, embedDim }: Config): number {
  return patch ? patch.channels * patch.size ** 2 : embedDim;
}

/** What a sequence of `tokens` (int64 [B, T]), `vectors` or `patches` ([B, T, width]) becomes [B, T, E]. */
export function enterModel(ctx: ModelContext, source: Value): Value {
  const { g, config } = ctx;
  const { nEmbd: E, embedDim } = config;
  let x = fromInput(ctx, source);
  if (config.droppedToken !== null) x = mul(g, x, g.input('embedFactors', 'float32', ['B', 'T', 1]));
  x = scale(g, x, config.embedScale);
  if (embedDim !== E) x = linearOf(ctx, x, 'project_in', E);
  if (config.position === 'learned') {
    const table = plainParam(ctx, 'wpe.weight', [config.contextLength + config.positionOffset, E]);
    x = add(g, x, gatherRows(g, table, g.input('positionIds', 'int64', ['B', 'T'])));
  }
  if (config.tokenTypes > 0) {
    const table = plainParam(ctx, 'wtt.weight', [config.tokenTypes, E]);
    x = add(g, x, gatherRows(g, table, g.input('tokenTypes', 'int64', ['B', 'T'])));
  }
  return config.embedNorm ? norm(ctx, x, config.norm, 'wte_norm') : x;
}

function fromInput(ctx: ModelContext, source: Value): Value {
  const { config } = ctx;
  if (config.input === 'tokens') return embedding(ctx, source, 'wte', config.embedRows, config.embedDim);
  if (config.input === 'vectors') return source;
  // All later layers read the image through this small matrix: never quantized.
  return linearOf(ctx, source, 'patches', config.embedDim, { format: 'float32' });
}
