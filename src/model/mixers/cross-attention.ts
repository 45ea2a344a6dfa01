/**
 * @file Layers that attend to states which the caller gives, such as those of an image: keys and values are made once,
 * when the states are set for a row of a cache, and never change. Both branches of such a layer are gated.
 */
import type { Config } from '../../config/config.ts';
import type { CrossAttention, LayerSpec } from '../../config/layer-spec.ts';
import { attendTo } from '../../ops/attention.ts';
import { concat, mul, split, unary } from '../../ops/basic.ts';
import { OpGraph } from '../../ops/graph.ts';
import { INPUT } from '../../ops/step-names.ts';
import type { GraphTarget } from '../../ops/target.ts';
import type { Value } from '../../ops/types.ts';
import { range } from '../../util/numbers.ts';
import { type ModelContext, type ModelDefinition, plainParam } from '../context.ts';
import { feedForward } from '../feed-forward.ts';
import { linear, linearOf } from '../linear.ts';
import { norm, type Residual } from '../norm.ts';
import { byHead } from './self-attention.ts';

/** The mixer of a layer that attends to given states; null for other layers. */
export function crossOf({ mixer }: LayerSpec): CrossAttention | null {
  return mixer?.kind === 'cross-attention' ? mixer : null;
}

/** The layers that attend to given states. */
export function crossLayers(config: Config): number[] {
  return range(config.layers.length).filter((l) => crossOf(config.layers[l]));
}

/** The numbers of the first of them; null where the model has none. */
export function crossSpec(config: Config): CrossAttention | null {
  return config.layers.map(crossOf).find((spec) => spec !== null) ?? null;
}

/** What these layers read of a step's inputs. Tc is T, or 1 where all tokens attend to the same states. */
export interface CrossInputs {
  /** 0, or HIDDEN where a token does not attend to a state [B, Tc, S]. */
  readonly mask: Value;
  /** What the results of attention and MLP are multiplied with: 0 drops them [B, Tc, 1]. null: all stay. */
  readonly attention: Value;
  readonly mlp: Value | null;
}

/** Declares the inputs; null where the model has no such layers, or no states are set. */
export function crossInputs({ g, config }: ModelContext, areSet: boolean): CrossInputs | null {
  const spec = crossSpec(config);
  if (!areSet || !spec) return null;
  return {
    mask: g.input(INPUT.cross('bias'), 'float32', ['B', 'Tc', 'S']),
    attention: g.input(INPUT.cross('attention'), 'float32', ['B', 'Tc', 1]),
    mlp: spec.blind === 'mlp' ? g.input(INPUT.cross('mlp'), 'float32', ['B', 'Tc', 1]) : null,
  };
}

/** A layer of this kind, on the stream. @param inputs null: there are no states. */
export function crossBlock(ctx: ModelContext, stream: Residual, layer: number, inputs: CrossInputs | null): void {
  const { g, config } = ctx;
  const spec = config.layers[layer];
  const { blind, gate, qkNorm, heads: H, groups: G, keySize: D, valueSize: Dv, scale, softcap } = crossOf(spec)!;
  const name = `h.${layer}.cross`;
  const gated = (y: Value, which: string, factor: Value | null): Value => {
    const open = unary(g, 'tanh', plainParam(ctx, `${name}.gate_${which}`, [gate === 'vector' ? config.nEmbd : 1]));
    return mul(g, factor ? mul(g, y, factor) : y, open);
  };
  if (!inputs && blind === 'mlp') return;
  if (inputs) {
    const x = stream.normed(spec.norms.beforeMixer!, `${name}.norm_1`);
    const heads = byHead(g, linearOf(ctx, x, `${name}.q`, H * D), H, D);
    const q = qkNorm ? norm(ctx, heads, qkNorm, `${name}.norm_q`) : heads;
    const k = g.input(INPUT.cross(`k.${layer}`), 'float32', ['B', G, 'S', D]);
    const v = g.input(INPUT.cross(`v.${layer}`), 'float32', ['B', G, 'S', Dv]);
    const y = attendTo(g, { q, k, v }, inputs.mask, { scale, softcap });
    stream.add(gated(linearOf(ctx, y, `${name}.proj`, config.nEmbd), 'attn', inputs.attention));
  }
  const n = stream.normed(spec.norms.beforeMlp!, `${name}.norm_2`);
  stream.add(
    gated(
      feedForward(ctx, n, () => stream.value(), spec.mlp!, `${name}.mlp`),
      'mlp',
      inputs?.mlp ?? null,
    ),
  );
}

/**
 * The graph that makes keys and values of one row's `states` [1, S, width]: `crossStates` [2·layers, G, S, D], keys and
 * values of the first layer that attends to states, of the second, …
 */
export function traceCrossStates(model: ModelDefinition, target: GraphTarget): OpGraph {
  const g = new OpGraph(target);
  const { config } = model;
  const ctx: ModelContext = { ...model, g, adapters: null };
  const states = g.input('states', 'float32', [1, 'S', crossSpec(config)!.width]);
  const all = crossLayers(config).flatMap((layer) => {
    const { groups: G, keySize: D, valueSize: Dv, qkNorm } = crossOf(config.layers[layer])!;
    const name = `h.${layer}.cross`;
    const parts = [
      { name: `${name}.k`, out: G * D },
      { name: `${name}.v`, out: G * Dv },
    ];
    return g.scope(name, () => {
      const [keys, values] = split(g, linear(ctx, states, `${name}.kv`, parts), -1, [G * D, G * Dv]);
      const k = byHead(g, keys, G, D); // [1, G, S, D]
      return [qkNorm ? norm(ctx, k, qkNorm, `${name}.norm_k`) : k, byHead(g, values, G, Dv)];
    });
  });
  g.output(concat(g, all, 0), 'crossStates');
  return g;
}
