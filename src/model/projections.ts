/**
 * @file The output projection of one layer's attention by itself, as a matrix: it is applied to the identity.
 */
import type { Config } from '../config/config.ts';
import type { SelfAttention } from '../config/layer-spec.ts';
import { scale } from '../ops/basic.ts';
import { OpGraph } from '../ops/graph.ts';
import type { GraphTarget } from '../ops/target.ts';
import type { ModelContext, ModelDefinition } from './context.ts';
import { linearOf } from './linear.ts';

/** The attention of a layer whose result one matrix projects, and a factor of that; null: it has none. */
export function projectedAttention({ layers }: Config, layer: number): { spec: SelfAttention; factor: number } | null {
  const { mixer, residualScale } = layers[layer];
  if (mixer?.kind === 'self-attention') return { spec: mixer, factor: residualScale };
  if (mixer?.kind !== 'attention-mamba-2') return null;
  return { spec: mixer.attention, factor: residualScale * mixer.scales.attention };
}

/** Input `heads` [1, W, W], W = H · Dv; output `projected` [1, W, E]: of an identity, the transposed matrix. */
export function traceProjection(model: ModelDefinition, layer: number, target: GraphTarget): OpGraph {
  const g = new OpGraph(target);
  const { config } = model;
  const ctx: ModelContext = { ...model, g, adapters: null };
  const { spec, factor } = projectedAttention(config, layer)!;
  const width = spec.heads * spec.valueSize;
  const heads = g.input('heads', 'float32', [1, width, width]);
  g.output(scale(g, linearOf(ctx, heads, `h.${layer}.attn.proj`, config.nEmbd), factor), 'projected');
  return g;
}
