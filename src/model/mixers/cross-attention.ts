/**
 * @file Layers that attend to states which the caller gave, such as those of an image: keys and values are made once, when the
 * states are attached to a row of a cache, and never change. Both branches of such a layer are gated.
 */

import { GraphBuilder, type Value } from '../../backends/onnx/builder.ts';
import { concat, mul, reshape, split, tanh, transpose } from '../../backends/onnx/ops.ts';
import type { Config } from '../../config/config.ts';
import { range } from '../../util/numbers.ts';
import type { WeightFormat } from '../../weights/types.ts';
import { ModelContext } from '../context.ts';
import { linear } from '../linear.ts';
import { gatedMlp } from '../mlp.ts';
import { norm, type Residual } from '../norm.ts';
import { type TracedGraph, traced } from '../traced.ts';
import { attend } from './self-attention.ts';

/** The layers that attend to states. */
export function crossLayers(config: Config): number[] {
  return range(config.nLayer).filter((l) => config.attentionKind[l] === 'cross');
}

/** What these layers read of a step's inputs. Tc is T, or 1 where all tokens see the same. */
export interface CrossInputs {
  /** 0, or HIDDEN where a token may not see a state [B, 1, 1, Tc, S]. */
  readonly bias: Value;
  /** What the results of attention and MLP are multiplied with: 0 drops them [B, Tc, 1]. null: all stay. */
  readonly attention: Value;
  readonly mlp: Value | null;
}

/** Declares the inputs; null where the model has no such layers, or nothing is attached. */
export function crossInputs({ g, config }: ModelContext, attached: boolean): CrossInputs | null {
  if (!attached || !config.cross) return null;
  return {
    bias: g.input('cross.bias', 'float32', ['B', 1, 1, 'Tc', 'S']),
    attention: g.input('cross.attention', 'float32', ['B', 'Tc', 1]),
    mlp: config.cross.blind === 'mlp' ? g.input('cross.mlp', 'float32', ['B', 'Tc', 1]) : null,
  };
}

/** A layer of this kind, on the stream. @param inputs null: there are no states. */
export function crossBlock(ctx: ModelContext, stream: Residual, layer: number, inputs: CrossInputs | null): void {
  const { g, config } = ctx;
  const { blind, gate, normQk } = config.cross!;
  const { nHead: H, nQueryGroups: G, headSize: D, nEmbd: E } = config;
  const name = `h.${layer}.cross`;
  const gated = (y: Value, which: string, factor: Value | null): Value => {
    const open = tanh(g, ctx.plain(`${name}.gate_${which}`, [gate === 'vector' ? E : 1]));
    return mul(g, factor ? mul(g, y, factor) : y, open);
  };
  if (!inputs && blind === 'mlp') return;
  if (inputs) {
    const x = stream.normed(config.norm, `${name}.norm_1`);
    const [B, T] = x.shape;
    const packed = linear(ctx, x, `${name}.q`, [{ name: `${name}.q`, out: H * D }]);
    const heads = transpose(g, reshape(g, packed, [0, 0, H, D], [B, T, H, D]), [0, 2, 1, 3]);
    const normed = normQk ? norm(ctx, heads, normQk, `${name}.norm_q`) : heads;
    const q = reshape(g, normed, [0, G, H / G, -1, D], [B, G, H / G, T, D]);
    const k = g.input(`cross.k.${layer}`, 'float32', [B, G, 1, 'S', D]);
    const v = g.input(`cross.v.${layer}`, 'float32', [B, G, 1, 'S', D]);
    const { y } = attend(ctx, q, k, v, {
      held: null,
      bias: { joined: () => inputs.bias, apart: null },
      observed: null,
    });
    const projected = linear(ctx, y, `${name}.proj`, [{ name: `${name}.proj`, out: E }]);
    stream.add(gated(projected, 'attn', inputs.attention));
  }
  const n = stream.normed(config.norm, `${name}.norm_2`);
  const y = gatedMlp(ctx, n, `${name}.mlp`, config.intermediateSize);
  stream.add(gated(y, 'mlp', inputs?.mlp ?? null));
}

/**
 * The graph that makes keys and values of one row's `states` [1, S, width]: `attached` [2·layers, G, S, D], keys and values of the
 * first layer that attends to states, of the second, …
 */
export function buildAttach(config: Config, format: WeightFormat): TracedGraph {
  const g = new GraphBuilder();
  const ctx = new ModelContext(g, config, format);
  const { nQueryGroups: G, headSize: D } = config;
  const { width, normQk } = config.cross!;
  const states = g.input('states', 'float32', [1, 'S', width]);
  const all = crossLayers(config).flatMap((layer) => {
    const name = `h.${layer}.cross`;
    const parts = ['k', 'v'].map((part) => ({ name: `${name}.${part}`, out: G * D }));
    const packed = g.scope(name, () => linear(ctx, states, `${name}.kv`, parts));
    const heads = transpose(g, reshape(g, packed, [0, 0, 2 * G, D], [1, 'S', 2 * G, D]), [0, 2, 1, 3]);
    const [k, v] = split(g, heads, 1, [G, G]); // [1, G, S, D]
    return [normQk ? norm(ctx, k, normQk, `${name}.norm_k`) : k, v];
  });
  g.output(concat(g, all, 0), 'attached');
  return traced(ctx);
}
