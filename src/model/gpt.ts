/**
 * @file GPT: the one definition of all decoders, traced into a graph that is a pure step.
 *
 * Inputs of a step (names as the graph's):
 * - `ids` int64 [B, T]; `positions` float32 [B, 1, 1, 1, T]: each token's place in its sequence; where positions are learned,
 *   `places` int64 [B, T]: rows of their table;
 * - `slots.CLASS` float32 [B, 1 or G, 1, 1, C], where layers of one class hold the same positions: the positions of the tokens
 *   held (EMPTY_SLOT where a slot is free) if the class has a window or alibi, else 0 (HIDDEN where a slot is free);
 * - `k.L`, `v.L` [B, G, 1, C, D], and what else the cache's format needs (held.ts): what layer L holds;
 * - `cos.I`, `sin.I` float32 [B·T, pairs] for each rotary embedding, and `ropeIndex` int64 [B, T], rows of them;
 * - `state.NAME` [B, …]: what a recurrent layer keeps, and `stateTimes` int64 [B, S]: after how many of the chunk's tokens its next
 *   state is wanted;
 * - `cross.k.L`, `cross.v.L` [B, G, 1, S, D]: what a layer attends to besides, and who sees it (cross-attention.ts);
 * - `logitRows` int64 [N]: which of the B·T tokens want logits;
 * - those of adapt.ts, where adapters are live;
 * - `queryWeights` float32 [B, 1, sets, R·T], where attention is observed (column r·T + t: query t of a group's head r).
 *
 * Outputs: `logits` [N, V]; `present` [2·L·B, G, 1, T, D]: keys and values of the first layer that holds any, of the second, …;
 * `next.NAME` [B, S, …]: the states; where asked for,
 * `sums.CLASS` [layers·B, G, sets, C + T]: attention weights on slots and chunk, summed over the queries; `moments.sum`
 * [L·B, G, R, 1, D] and `moments.outer` [L·B, G, R, D, D] of the queries before rotation, weighted by `momentWeights`.
 */

import { GraphBuilder, type Value } from '../backends/onnx/builder.ts';
import { concat, gather, reshape, shapeOf, timesDim } from '../backends/onnx/ops.ts';
import { type Config, holdsSlots, windowOf } from '../config/config.ts';
import type { BufferKind } from '../kvcache/buffers.ts';
import { type ClassMode, slotClass } from '../kvcache/slots.ts';
import { range } from '../util/numbers.ts';
import type { WeightFormat } from '../weights/types.ts';
import { type AdapterHooks, AdapterTrace, unpassedHooks } from './adapt.ts';
import { type AttentionBias, StepBiases } from './bias.ts';
import { block } from './block.ts';
import { ModelContext } from './context.ts';
import { embed, finish, head, ropeInputs, ropeOf } from './ends.ts';
import { attendsApart, HELD_READERS } from './held.ts';
import { crossBlock, crossInputs } from './mixers/cross-attention.ts';
import type { RecurrentInputs } from './mixers/rg-lru.ts';
import type { AttentionInputs, Observed } from './mixers/self-attention.ts';
import { Residual } from './norm.ts';
import { type TracedGraph, traced } from './traced.ts';

export interface StepGraphOptions {
  readonly format: WeightFormat;
  readonly classes: ClassMode;
  /** How the cache stores keys and values. */
  readonly buffer: BufferKind;
  /** Output the attention weights summed over queries. */
  readonly sums: boolean;
  /** Output the moments of the queries. */
  readonly moments: boolean;
  /** Where live adapters change the model; unless stated, nowhere. */
  readonly adapters?: AdapterHooks | null;
  /** Whether the caller gave states to attend to. */
  readonly cross?: boolean;
}

/** A traced step. */
export interface StepGraph extends TracedGraph {
  readonly config: Config;
  readonly options: StepGraphOptions;
  /** Per layer: the class that its slots belong to; empty where it holds none. */
  readonly classes: readonly string[];
  /** Places that adapters want to change and the graph has not. */
  readonly unchanged: readonly string[];
}

/** Traces the step of a config. Takes milliseconds; no weights are touched. */
export function buildStep(config: Config, options: StepGraphOptions): StepGraph {
  const g = new GraphBuilder();
  const { nLayer, nEmbd: E } = config;
  const classes = range(nLayer).map((l) =>
    holdsSlots(config, l) ? slotClass(windowOf(config, l), l, options.classes) : '',
  );

  const ids = g.input('ids', 'int64', ['B', 'T']);
  const ctx = new ModelContext(g, config, options.format, shapeOf(g, ids, 1, 2));
  const positions = g.input('positions', 'float32', ['B', 1, 1, 1, 'T']);
  const logitRows = g.input('logitRows', 'int64', ['N']);
  if (options.adapters) ctx.adapters = new AdapterTrace(options.adapters, ids, logitRows);
  const ropes = ropeInputs(ctx);
  const observed = observedInputs(ctx, options);
  const biases = new Map<string, AttentionBias>();
  const isApart = attendsApart(ctx, options.buffer);
  const stepBiases = g.scope('bias', () => new StepBiases(ctx, positions, isApart));
  for (const [l, name] of classes.entries()) {
    if (name === '' || biases.has(name)) continue;
    const slots = g.input(`slots.${name}`, 'float32', ['B', `G.${name}`, 1, 1, `C.${name}`]);
    const isShared = classes.lastIndexOf(name) > l;
    biases.set(
      name,
      g.scope(`bias.${name}`, () => stepBiases.of(slots, l, isShared)),
    );
  }

  const recurrent: RecurrentInputs | null = config.recurrent && {
    times: g.input('stateTimes', 'int64', ['B', 'S']),
    positions,
  };
  const cross = crossInputs(ctx, options.cross ?? false);

  const stream = new Residual(
    ctx,
    g.scope('embed', () => embed(ctx, ids)),
  );
  const present: Value[] = [];
  const sums = new Map<string, Value[]>();
  const moments: { sum: Value; outer: Value }[] = [];
  const next: Record<string, Value> = {};
  for (let l = 0; l < nLayer; l++) {
    if (config.attentionKind[l] === 'cross') {
      g.scope(`h.${l}`, () => crossBlock(ctx, stream, l, cross));
      continue;
    }
    const attention: AttentionInputs | null = holdsSlots(config, l)
      ? {
          held: HELD_READERS[options.buffer](ctx, l, `C.${classes[l]}`),
          bias: biases.get(classes[l])!,
          rope: ropeOf(config, ropes, l),
          observed,
        }
      : null;
    const out = g.scope(`h.${l}`, () => block(ctx, stream, l, { attention, recurrent }));
    if (out.k && out.v) present.push(out.k, out.v);
    if (out.sums) sums.set(classes[l], [...(sums.get(classes[l]) ?? []), out.sums]);
    if (out.moments) moments.push(out.moments);
    Object.assign(next, out.next);
  }
  g.output(concat(g, present, 0), 'present');
  for (const [name, list] of sums) g.output(concat(g, list, 0), `sums.${name}`);
  if (options.moments)
    for (const kind of ['sum', 'outer'] as const)
      g.output(
        concat(
          g,
          moments.map((m) => m[kind]),
          0,
        ),
        `moments.${kind}`,
      );
  for (const [name, value] of Object.entries(next)) g.output(value, `next.${name}`);

  const rows = gather(g, reshape(g, finish(ctx, stream), [-1, E], ['B*T', E]), logitRows); // [N, E]
  g.output(
    g.scope('head', () => head(ctx, rows)),
    'logits',
  );
  const unchanged = ctx.adapters ? unpassedHooks(ctx.adapters) : [];
  return { ...traced(ctx), config, options, classes, unchanged };
}

function observedInputs({ g, config }: ModelContext, { sums, moments }: StepGraphOptions): Observed | null {
  if (!sums && !moments) return null;
  const R = config.nHead / config.nQueryGroups;
  return {
    queryWeights: sums ? g.input('queryWeights', 'float32', ['B', 1, 'sets', timesDim(R, 'T')]) : null,
    momentWeights: moments ? g.input('momentWeights', 'float32', ['B', 1, 1, 'T']) : null,
  };
}
