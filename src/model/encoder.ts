/**
 * @file Encoders: the same layers without a cache. All of a sequence is computed at once.
 *
 * Inputs: `ids` int64 [B, T], or `vectors` float32 [B, T, width]; `mask` float32 [B, T] (0, or HIDDEN for padding);
 * what the family's positions need (`ropeIndex`, `cos.I`, `sin.I`, `positionIds`, `order`), `tokenTypes` (int64 [B, T])
 * where it has them, and `embedFactors` where a token is dropped. Output: `encoded`: [B, T, E], logits [B, T, V], or
 * [B, P], as the config or the caller says.
 */
import type { Config, OutputKind } from '../config/config.ts';
import { keepsSlots } from '../config/layer-spec.ts';
import { OpGraph } from '../ops/graph.ts';
import type { GraphTarget } from '../ops/target.ts';
import type { Value } from '../ops/types.ts';
import { GraphError } from '../util/errors.ts';
import { block } from './block.ts';
import type { ModelContext, ModelDefinition } from './context.ts';
import { enterModel, rotations, vectorWidth } from './embedding.ts';
import { finish, maskedHead, pool } from './head.ts';
import { UNOBSERVED } from './mixers/self-attention.ts';
import { Residual } from './norm.ts';

/** The outputs that an encoder has. */
export function encoderOutputs({ output }: Config): OutputKind[] {
  return output === 'hidden' ? ['hidden'] : [output, 'hidden'];
}

/** Whether what a token attends to depends on its position. */
export function needsOrder({ causal, position, layers }: Config): boolean {
  return causal || position === 'alibi' || layers.some(({ mixer }) => keepsSlots(mixer) && mixer.window !== null);
}

export function traceEncoder(model: ModelDefinition, output: OutputKind, target: GraphTarget): OpGraph {
  const g = new OpGraph(target);
  const { config } = model;
  const ctx: ModelContext = { ...model, g, adapters: null };
  if (config.layers.some(({ mixer }) => !keepsSlots(mixer))) throw new GraphError('encoders are made of attention');
  const source =
    config.input === 'tokens'
      ? g.input('ids', 'int64', ['B', 'T'])
      : g.input('vectors', 'float32', ['B', 'T', vectorWidth(config)]);
  const mask = g.input('mask', 'float32', ['B', 'T']);
  const order = needsOrder(config) ? g.input('order', 'float32', ['B', 'T']) : mask;
  const ropes = rotations(ctx);
  const stream = new Residual(
    ctx,
    g.scope('embed', () => enterModel(ctx, source)),
  );
  for (const [l, { rope }] of config.layers.entries()) {
    const rotation = rope === null ? null : ropes[rope];
    const attention = { source: { mask, order }, rotation, observed: UNOBSERVED };
    g.scope(`h.${l}`, () => block(ctx, stream, l, { attention, states: null, shared: null }));
  }
  const x = finish(ctx, stream);
  g.output(
    g.scope('head', () => OUTPUTS[output](ctx, x, mask)),
    'encoded',
  );
  return g;
}

const OUTPUTS: Readonly<Record<OutputKind, (ctx: ModelContext, x: Value, mask: Value) => Value>> = {
  logits: () => {
    throw new GraphError('decoders give logits, encoders do not');
  },
  hidden: (_, x) => x,
  'masked-logits': maskedHead,
  pooled: pool,
};
