/**
 * @file Encoders: the same blocks without a cache. All of a sequence goes through at once.
 *
 * Inputs: `ids` int64 [B, T], or `vectors` float32 [B, T, width]; `mask` float32 [B, 1, 1, 1, T] (0, or HIDDEN for padding); what
 * the family's positions need (`ropeIndex`, `cos.I`, `sin.I`, `places`, `order`) and `embedFactors` where a token is dropped.
 * Output: `encoded`: [B, T, E], logits [B, T, V], or [B, P], as the config or the caller says.
 */

import { GraphBuilder, type Value } from '../backends/onnx/builder.ts';
import { exp, reshape } from '../backends/onnx/ops.ts';
import { type Config, holdsSlots, type OutputKind, windowOf } from '../config/config.ts';
import { GraphError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import type { WeightFormat } from '../weights/types.ts';
import { type AttentionBias, encoderBias } from './bias.ts';
import { block } from './block.ts';
import { ModelContext } from './context.ts';
import { embed, finish, maskedHead, pool, ropeInputs, ropeOf, vectorWidth } from './ends.ts';
import { Residual } from './norm.ts';
import { type TracedGraph, traced } from './traced.ts';

/** What an encoder can be asked for. */
export function encoderOutputs({ output }: Config): OutputKind[] {
  return output === 'hidden' ? ['hidden'] : [output, 'hidden'];
}

/** Whether what a token sees depends on where it stands. */
export function needsOrder(config: Config): boolean {
  return config.causal || config.position === 'alibi' || range(config.nLayer).some((l) => windowOf(config, l) !== null);
}

export function buildEncoder(config: Config, format: WeightFormat, output: OutputKind): TracedGraph {
  const g = new GraphBuilder();
  const ctx = new ModelContext(g, config, format);
  if (range(config.nLayer).some((l) => !holdsSlots(config, l))) throw new GraphError('encoders are made of attention');
  const source =
    config.input === 'tokens'
      ? g.input('ids', 'int64', ['B', 'T'])
      : g.input('vectors', 'float32', ['B', 'T', vectorWidth(config)]);
  const mask = g.input('mask', 'float32', ['B', 1, 1, 1, 'T']);
  const order = needsOrder(config) ? g.input('order', 'float32', ['B', 1, 1, 1, 'T']) : mask;
  const ropes = ropeInputs(ctx);
  const stream = new Residual(
    ctx,
    g.scope('embed', () => embed(ctx, source)),
  );
  const biases = new Map<number | null, AttentionBias>();
  for (let l = 0; l < config.nLayer; l++) {
    const window = windowOf(config, l);
    if (!biases.has(window))
      biases.set(
        window,
        g.scope(`bias.${window}`, () => encoderBias(ctx, mask, order, l)),
      );
    const attention = { held: null, bias: biases.get(window)!, rope: ropeOf(config, ropes, l), observed: null };
    g.scope(`h.${l}`, () => block(ctx, stream, l, { attention, recurrent: null }));
  }
  const x = finish(ctx, stream);
  g.output(
    g.scope('head', () => OUTPUTS[output](ctx, x, mask)),
    'encoded',
  );
  return traced(ctx);
}

const OUTPUTS: Readonly<Record<OutputKind, (ctx: ModelContext, x: Value, mask: Value) => Value>> = {
  logits: () => {
    throw new GraphError('this is what decoders give');
  },
  hidden: (_, x) => x,
  'masked-logits': maskedHead,
  // 0 counts once, and HIDDEN not at all.
  pooled: (ctx, x, mask) => pool(ctx, x, exp(ctx.g, reshape(ctx.g, mask, [0, 1, -1], ['B', 1, 'T']))),
};
