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
 * - `logitRows` int64 [N]: which of the B·T tokens want logits;
 * - those of adapt.ts, where adapters are live;
 * - `queryWeights` float32 [B, 1, sets, R·T], where attention is observed (column r·T + t: query t of a group's head r).
 *
 * Outputs: `logits` [N, V]; `present` [2·L·B, G, 1, T, D]: keys and values of layer 0, of layer 1, …; where asked for,
 * `sums.CLASS` [layers·B, G, sets, C + T]: attention weights on slots and chunk, summed over the queries; `moments.sum`
 * [L·B, G, R, 1, D] and `moments.outer` [L·B, G, R, D, D] of the queries before rotation, weighted by `momentWeights`.
 */
import { type Config, rotatedDims, windowOf } from '../config/config.ts';
import { type ExternalData, GraphBuilder, type Value } from '../graph/builder.ts';
import { add, concat, div, equal, gather, index, mul, reshape, shapeOf, tanh, timesDim } from '../graph/ops.ts';
import type { BufferKind } from '../kvcache/buffers.ts';
import { type ClassMode, slotClass } from '../kvcache/slots.ts';
import type { PreparedWeights, WeightFormat } from '../weights/types.ts';
import { type AdapterHooks, AdapterTrace, unpassedHooks } from './adapt.ts';
import type { AttentionInputs, Observed, RopeInputs } from './attention.ts';
import { type AttentionBias, attentionBias } from './bias.ts';
import { block } from './block.ts';
import { ModelContext, type Param } from './context.ts';
import { HELD_READERS } from './held.ts';
import { embedding, linear, ROWS_VIEW } from './linear.ts';
import { norm, Residual } from './norm.ts';

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
}

/** A traced step. */
export interface StepGraph {
  readonly config: Config;
  readonly options: StepGraphOptions;
  readonly params: readonly Param[];
  /** Per layer: the class that its slots belong to. */
  readonly classes: readonly string[];
  readonly nodeCount: number;
  /** Places that adapters want to change and the graph has not. */
  readonly unchanged: readonly string[];
  /** The ONNX model, pointing into the prepared weights. */
  serialise(weights: PreparedWeights): Uint8Array;
}

/** Traces the step of a config. Takes milliseconds; no weights are touched. */
export function buildStep(config: Config, options: StepGraphOptions): StepGraph {
  const g = new GraphBuilder();
  const { nLayer, nEmbd: E } = config;
  const classes = Array.from({ length: nLayer }, (_, l) => slotClass(windowOf(config, l), l, options.classes));

  const ids = g.input('ids', 'int64', ['B', 'T']);
  const ctx = new ModelContext(g, config, options.format, () =>
    equal(g, gather(g, shapeOf(g, ids, 1, 2), index(g, 0)), index(g, 1)),
  );
  const positions = g.input('positions', 'float32', ['B', 1, 1, 1, 'T']);
  const logitRows = g.input('logitRows', 'int64', ['N']);
  if (options.adapters) ctx.adapters = new AdapterTrace(options.adapters, ids, logitRows);
  const ropes = ropeInputs(ctx);
  const observed = observedInputs(ctx, options);
  const biases = new Map<string, AttentionBias>();
  for (const [l, name] of classes.entries()) {
    if (biases.has(name)) continue;
    const slots = g.input(`slots.${name}`, 'float32', ['B', `G.${name}`, 1, 1, `C.${name}`]);
    biases.set(
      name,
      g.scope(`bias.${name}`, () => attentionBias(ctx, slots, positions, l)),
    );
  }

  const stream = new Residual(
    ctx,
    g.scope('embed', () => embed(ctx, ids)),
  );
  const present: Value[] = [];
  const sums = new Map<string, Value[]>();
  const moments: { sum: Value; outer: Value }[] = [];
  for (let l = 0; l < nLayer; l++) {
    const inputs: AttentionInputs = {
      held: HELD_READERS[options.buffer](ctx, l, `C.${classes[l]}`),
      bias: biases.get(classes[l])!,
      rope: config.ropeIndices[l] < 0 ? null : ropes[config.ropeIndices[l]],
      observed,
    };
    const out = g.scope(`h.${l}`, () => block(ctx, stream, l, inputs));
    present.push(out.k, out.v);
    if (out.sums) sums.set(classes[l], [...(sums.get(classes[l]) ?? []), out.sums]);
    if (out.moments) moments.push(out.moments);
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

  const x = config.finalNorm ? stream.normed(config.finalNorm, 'ln_f') : stream.value();
  const rows = gather(g, reshape(g, x, [-1, E], ['B*T', E]), logitRows); // [N, E]
  g.output(
    g.scope('head', () => head(ctx, rows)),
    'logits',
  );
  return {
    config,
    options,
    params: [...ctx.params.values()],
    classes,
    nodeCount: g.nodeCount,
    unchanged: ctx.adapters ? unpassedHooks(ctx.adapters) : [],
    serialise: (weights) => g.serialise((name) => locate(weights, name)),
  };
}

function observedInputs({ g, config }: ModelContext, { sums, moments }: StepGraphOptions): Observed | null {
  if (!sums && !moments) return null;
  const R = config.nHead / config.nQueryGroups;
  return {
    queryWeights: sums ? g.input('queryWeights', 'float32', ['B', 1, 'sets', timesDim(R, 'T')]) : null,
    momentWeights: moments ? g.input('momentWeights', 'float32', ['B', 1, 1, 'T']) : null,
  };
}

function ropeInputs(ctx: ModelContext): RopeInputs[] {
  const { g, config } = ctx;
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

/** What enters the first block [B, T, E]. */
function embed(ctx: ModelContext, ids: Value): Value {
  const { g, config } = ctx;
  const { nEmbd: E, embedDim } = config;
  let x = embedding(ctx, ids, 'wte', config.embedRows, embedDim);
  if (config.embedScale !== 1) x = mul(g, x, g.scalar(config.embedScale));
  if (embedDim !== E) x = linear(ctx, x, 'project_in', [{ name: 'project_in', out: E }]);
  if (config.position === 'learned') {
    const rows = config.blockSize + config.positionOffset;
    const places = g.input('places', 'int64', ids.shape);
    x = add(g, x, gather(g, ctx.plain('wpe.weight', [rows, E]), places));
  }
  return config.embedNorm ? norm(ctx, x, config.norm, 'wte_norm') : x;
}

/** Logits of rows [N, E] → [N, V]. */
function head(ctx: ModelContext, rows: Value): Value {
  const { g, config } = ctx;
  const { vocabSize, embedDim } = config;
  const name = config.tieEmbeddings ? 'wte' : 'lm_head';
  const x =
    embedDim === config.nEmbd ? rows : linear(ctx, rows, 'project_out', [{ name: 'project_out', out: embedDim }]);
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

function locate(weights: PreparedWeights, name: string): ExternalData {
  const stored = weights.params.get(name.replace(ROWS_VIEW, ''))!;
  return { location: weights.file.name, offset: stored.offset, length: stored.length };
}
