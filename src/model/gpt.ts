/**
 * @file GPT: the one definition of all decoders, traced into a graph that is a pure step.
 *
 * Inputs of a step (shapes as in ops/types.ts):
 * - `ids` int64 [B, T]; `positions` float32 [B, T]; where positions are learned, `positionIds` int64 [B, T]: rows of
 *   their table;
 * - `slots.GROUP` float32 [B, 1 or G, C], for layers that hold the same positions: the positions of the cached tokens,
 *   EMPTY_SLOT where a slot is free;
 * - `logTokens.GROUP` float32 [B, 1 or G, C], where slots may stand for several tokens: the logarithms of their numbers;
 * - `k.L`, `v.L` [B, G, C, D], and the scales of a quantized buffer: the slots of layer L;
 *   where groups differ in their slots, `slots.GROUP.I`, `logTokens.GROUP.I`, `k.L.I` and `v.L.I` of each of its groups, and `sum.GROUP.I`;
 * - `cos.I`, `sin.I` float32 [B·T, pairs] for each rotary embedding, and `ropeIndex` int64 [B, T], rows of them;
 * - `state.NAME` [B, …]: what a layer with a state keeps, and `stateTimes` int64 [B, S]: after how many of the chunk's
 *   tokens its next state is wanted;
 * - `cross.k.L`, `cross.v.L` [B, G, S, D]: given states, and the masks of mixers/cross-attention.ts;
 * - `logitRows` int64 [N]: which of the B·T tokens want logits;
 * - those of adapt.ts, where adapters are live;
 * - where attention is observed: `queryWeights.R` float32 [B, sets.R, R·T], for layers with R heads a group;
 *   `queryMask` [B, sets or T, T]; `momentWeights` [B, T], where moments of queries are wanted; `keySums.L`
 *   [B, G, 1, D] (or `keySums.L.I`), where products of keys are: the sums of the directions of the slots' keys;
 * - where an echo is wanted: `echo.positions` [B, T], `echo.cos.I` and `echo.sin.I` of these positions, and `echo.mask`
 *   [B, E, T]: 1, or 0 for padding. E is 0 where nothing is wanted of the step. A chunk that is really read once more
 *   has its copy behind it in `ids`, and the copy's queries are the last set of `queryMask`.
 *
 * Outputs: `logits` [N, V]; `keys.L` [B, G, T, D] and `values.L` [B, G, T, Dv] of each layer that holds any, the
 * latter where values are no part of the keys; `next.NAME` [B, S, …]: the states; where asked for, `sum.GROUP` and
 * `max.GROUP` [layers·B, G, sets, C + T]: attention weights on slots and chunk, their sums and maxima over the queries;
 * `echo.GROUP` [layers·B, G, E, C + T]: the largest weights of queries that read the chunk once more; `moments.sum.L`
 * [B, H, D] and `moments.outer.L` [B, H, D, D] of the queries; `along.GROUP` [B, G, C + T]: products of
 * keys; `residual.L` [B, T, E]: the residual stream after layer L.
 */
import { type SlotSpec, slotSpec } from '../config/layer-spec.ts';
import type { BufferChoice } from '../kvcache/buffers.ts';
import type { LayerParts } from '../kvcache/slots/slot-store.ts';
import { layerGroupOf, type SlotSharing } from '../kvcache/slots/slots.ts';
import { partName } from '../kvcache/slots/table-parts.ts';
import type { CachedKV, Rotation } from '../ops/attention.ts';
import { concat, gatherRows, reshape } from '../ops/basic.ts';
import { OpGraph } from '../ops/graph.ts';
import { type Dim, timesDim } from '../ops/shapes.ts';
import { INPUT, LENGTH, OUTPUT } from '../ops/step-names.ts';
import type { GraphTarget } from '../ops/target.ts';
import type { Value } from '../ops/types.ts';

import { type AdapterHooks, AdapterTrace } from './adapter-trace.ts';
import { block } from './block.ts';
import type { ModelContext, ModelDefinition } from './context.ts';
import { echoedRotations, enterModel, rotations } from './embedding.ts';
import { finish, head } from './head.ts';
import { crossBlock, crossInputs } from './mixers/cross-attention.ts';
import { slotInputs, storedSlots } from './mixers/self-attention.ts';
import { statesOf } from './mixers/state-shapes.ts';
import type { CachedTokens, EchoedChunk, ObservedInputs, SharedKV, SlotSource, StateInputs } from './mixers/types.ts';
import { Residual } from './norm.ts';
import { furtherParts } from './parts.ts';

export interface StepGraphOptions {
  readonly sharing: SlotSharing;
  /** How the cache stores keys and values. */
  readonly buffer: BufferChoice;
  /** Layer groups, or parts of them, of which the attention weights summed over queries are output; null: of none. */
  readonly sums: ReadonlySet<string> | null;
  /** Of so many queries, from the first, one counts in them. @default 1 */
  readonly sumStep?: number;
  /** Output the maxima of the attention weights over queries. @default false */
  readonly maxima?: boolean;
  /** Layer groups, or parts of them, of which the echo is output; null: of none. @default null */
  readonly echo?: ReadonlySet<string> | null;
  /** Those of which it is output for the slots, too, and not for the chunk alone. @default null */
  readonly echoOfHeld?: ReadonlySet<string> | null;
  /**
   * The same, where the chunk has its copy behind it: the echo is what the copy's queries pay. In place of `echo`.
   * @default null
   */
  readonly replay?: ReadonlySet<string> | null;
  /** Output the moments of the queries: before the position's rotation, or as they attend to rotated keys. */
  readonly moments: boolean | 'rotated';
  /** Output the products of keys with the sum of their directions. @default false */
  readonly alongMean?: boolean;
  /** The hooks of live adapters. @default none */
  readonly adapters?: AdapterHooks | null;
  /** Whether the caller gave states to attend to. @default false */
  readonly cross?: boolean;
  /** Of layers whose groups differ in their slots: which of them are read together. @default none */
  readonly parts?: ReadonlyMap<number, LayerParts>;
  /** Layer groups, or parts of them, whose slots may stand for several tokens; null: none. @default null */
  readonly merged?: ReadonlySet<string> | null;
  /** Output the residual stream after each layer that holds slots. @default false */
  readonly residuals?: boolean;
}

/** A traced step. */
export interface StepTrace {
  readonly graph: OpGraph;
  /** Hooks that adapters need and the model does not have. */
  readonly unmetHooks: readonly string[];
}

/** Traces the step of a model. Takes milliseconds; no weights are read. */
export function traceStep(model: ModelDefinition, options: StepGraphOptions, target: GraphTarget): StepTrace {
  const g = new OpGraph(target);
  const { config } = model;
  const { layers, nEmbd: E } = config;
  const ids = g.input('ids', 'int64', ['B', 'T']);
  const positions = g.input('positions', 'float32', ['B', 'T']);
  const logitRows = g.input('logitRows', 'int64', ['N']);
  const adapters = options.adapters ? new AdapterTrace(options.adapters, ids, logitRows) : null;
  const ctx: ModelContext = { ...model, g, adapters };
  const ropes = rotations(ctx);
  const observed = observedInputs(ctx, options, ropes);
  const cachedOf = cachedTokens(ctx, options, positions);
  const hasStates = layers.some(({ mixer }, l) => statesOf(mixer, l).length > 0);
  const states: StateInputs | null = hasStates
    ? { times: g.input('stateTimes', 'int64', ['B', 'S']), positions }
    : null;
  const cross = crossInputs(ctx, options.cross ?? false);

  const entered = g.scope('embed', () => enterModel(ctx, ids));
  const ofLayers = config.perLayerInput
    ? g.scope('embed', () => furtherParts(ctx).perLayerInputs(ctx, ids, entered))
    : [];
  const altUp = config.altUp ? g.scope('embed', () => furtherParts(ctx).altUp(ctx, entered, config.altUp!)) : null;
  let stream = new Residual(ctx, entered);
  const shareable = new Map<number, SharedKV>();
  const reduced = new Map<string, Value[]>();
  const next: Record<string, Value> = {};
  for (const [l, spec] of layers.entries()) {
    if (spec.mixer?.kind === 'cross-attention') {
      g.scope(`h.${l}`, () => crossBlock(ctx, stream, l, cross));
      continue;
    }
    const slots = slotSpec(spec.mixer);
    const source = slots && cachedOf(slots, l);
    const rotation = spec.rope === null ? null : ropes[spec.rope];
    const attention = source && { source, rotation, observed: observed(slots.heads / slots.groups, source, spec.rope) };
    const lent = spec.mixer?.kind === 'shared-attention' ? shareable.get(spec.mixer.source)! : null;
    if (altUp)
      stream = new Residual(
        ctx,
        g.scope(`h.${l}`, () => altUp.enter(l)),
      );
    const out = g.scope(`h.${l}`, () =>
      block(ctx, stream, l, { attention, states, shared: lent && { ...lent, rotation } }),
    );
    g.scope(`h.${l}`, () => {
      if (altUp) altUp.leave(l, stream.value(), ofLayers[l]);
      else if (ofLayers[l] || spec.outScale) furtherParts(ctx).endLayer(ctx, stream, l, ofLayers[l]);
    });
    if (options.residuals && slots) g.output(stream.value(), OUTPUT.residual(l));
    if (source && out.k && out.v) shareable.set(l, { source, k: out.k, v: out.v });
    if (out.k) g.output(out.k, OUTPUT.keys(l));
    if (out.v) g.output(out.v, OUTPUT.values(l));
    for (const { kind, layerGroup, value } of out.reduced ?? []) {
      const name = OUTPUT.reduced(kind, layerGroup);
      reduced.set(name, [...(reduced.get(name) ?? []), value]);
    }
    if (out.moments) for (const kind of ['sum', 'outer'] as const) g.output(out.moments[kind], OUTPUT.moments(kind, l));
    Object.assign(next, out.next);
  }
  for (const [name, list] of reduced) g.output(concat(g, list, 0), name);
  for (const [name, value] of Object.entries(next)) g.output(value, OUTPUT.next(name));

  if (altUp) stream = new Residual(ctx, altUp.merged());
  const rows = gatherRows(g, reshape(g, finish(ctx, stream), [-1, E], ['B*T', E]), logitRows); // [N, E]
  g.output(
    g.scope('head', () => head(ctx, rows)),
    'logits',
  );
  return { graph: g, unmetHooks: adapters?.unmet() ?? [] };
}

/** Declares the inputs of a layer's slots; layers of one group share the input of their positions. */
function cachedTokens({ g }: ModelContext, options: StepGraphOptions, positions: Value) {
  const { sharing, buffer, parts, merged, alongMean = false } = options;
  const shared = new Map<string, Value>();
  const ofSlots = (name: string, group: string, groups: Dim): Value => {
    let value = shared.get(name);
    if (!value) {
      value = g.input(name, 'float32', ['B', groups, LENGTH.slots(group)]);
      shared.set(name, value);
    }
    return value;
  };
  const ofIndex = (part: string, groups: number): Value => {
    const name = INPUT.slotIndex(part);
    const value = shared.get(name) ?? g.input(name, 'int32', ['B', groups, LENGTH.slots(part)]);
    shared.set(name, value);
    return value;
  };
  return (spec: SlotSpec, layer: number): CachedTokens => {
    const layerGroup = layerGroupOf(spec.window ?? spec.chunk, layer, sharing);
    const { groups, keySize, valueSize } = spec;
    const source = (name: string, of: readonly number[] | null, own: string, slots: () => CachedKV): SlotSource => {
      const dim = of?.length ?? LENGTH.groups(name);
      let declared: CachedKV | null = null; // layers that share slots share their inputs
      return {
        layerGroup: name,
        groups: of,
        slots: ofSlots(INPUT.slots(name), name, dim),
        logTokens: merged?.has(name) ? ofSlots(INPUT.logTokens(name), name, dim) : null,
        inputs: () => (declared ??= slots()),
        keySums: alongMean
          ? () => g.input(INPUT.keySums(own), 'float32', ['B', of?.length ?? groups, 1, keySize])
          : null,
      };
    };
    const inPlace = (name: string, own: string, count: number) => () =>
      slotInputs(g, { groups: count, keySize, valueSize }, own, buffer, LENGTH.slots(name));
    const layerParts = parts?.get(layer);
    if (!layerParts)
      return {
        buffer,
        layerGroup,
        positions,
        sources: [source(layerGroup, null, `${layer}`, inPlace(layerGroup, `${layer}`, groups))],
      };
    const stored = layerParts.gathers ? storedSlots(g, spec, layer, buffer, LENGTH.stored(layerGroup)) : null;
    const sources = layerParts.parts.map(({ name, groups: of }, i) => {
      const gathered = () => stored!(ofIndex(name, of.length));
      const own = partName(`${layer}`, i);
      return source(name, of, own, stored ? gathered : inPlace(name, own, of.length));
    });
    return { buffer, layerGroup, positions, sources };
  };
}

function observedInputs(
  ctx: ModelContext,
  { sums, sumStep = 1, maxima = false, moments, echo, echoOfHeld, replay }: StepGraphOptions,
  ropes: readonly Rotation[],
) {
  const { g } = ctx;
  const momentWeights = moments ? g.input('momentWeights', 'float32', ['B', 'T']) : null;
  const maximaSets = replay ? Number(maxima) + 1 : 'maximaSets';
  const observedMaxima =
    maxima || replay
      ? {
          queryMask: g.input('queryMask', 'float32', ['B', maximaSets, 'T']),
          ofChunk: maxima,
          replay: replay ?? new Set<string>(),
        }
      : null;
  const queryWeights = new Map<number, Value>();
  const isWanted = (name: string) => echo?.has(name) ?? false;
  const sumStepOf = (name: string) => (sums?.has(name) ? sumStep : 0);
  const echoed = echo && {
    positions: g.input(INPUT.echo('positions'), 'float32', ['B', 'T']),
    mask: g.input(INPUT.echo('mask'), 'float32', ['B', 'echoSets', 'T']),
    ropes: echoedRotations(ctx, ropes),
  };
  const echoOf = ({ sources }: CachedTokens, rope: number | null): EchoedChunk | null => {
    if (!echoed || !sources.some(({ layerGroup }) => isWanted(layerGroup))) return null;
    const { positions, mask } = echoed;
    const rotation = rope === null ? null : echoed.ropes[rope];
    return { positions, mask, rotation, isWanted, isOfHeld: (name) => echoOfHeld?.has(name) ?? false };
  };
  /** @param R heads of a group. */
  return (R: number, source: CachedTokens, rope: number | null): ObservedInputs => {
    let weights = queryWeights.get(R);
    if (sums && !weights) {
      weights = g.input(INPUT.queryWeights(R), 'float32', ['B', `sets.${R}`, timesDim(R, 'T')]);
      queryWeights.set(R, weights);
    }
    return {
      queryWeights: weights ?? null,
      sumStepOf,
      maxima: observedMaxima,
      momentWeights,
      momentsRotated: moments === 'rotated',
      echo: echoOf(source, rope),
    };
  };
}
