/**
 * @file Attention: rotation, the weights reduced over queries, moments of queries, prefixes.
 */
import type { QueryTemperature } from '../config/layer-spec.ts';
import type { BufferChoice, BufferKind } from '../kvcache/buffers.ts';
import { GraphError } from '../util/errors.ts';
import type { OpGraph, ValueType } from './graph.ts';
import { addDims } from './shapes.ts';
import type { OpAttributes, ScoreAttributes, Value } from './types.ts';

export interface Rotation {
  /** [B·T, pairs] */
  readonly cos: Value;
  readonly sin: Value;
  /** int64 [B, T]: rows of cos and sin. */
  readonly index: Value;
  readonly interleave: boolean;
  /** Both are times a factor. */
  readonly scaled: boolean;
}

/** Rotates the first 2·pairs dimensions of each head. @param x [B, heads, T, D] */
export function rotate(g: OpGraph, x: Value, { cos, sin, index, interleave, scaled }: Rotation): Value {
  const [pairs, size] = [cos.shape[1] as number, x.shape[3] as number];
  if (2 * pairs > size) throw new GraphError(`rotate: ${pairs} pairs do not fit heads of ${size}`);
  return g.add('rotate', [x, cos, sin, index], { interleave, scaled }, [x])[0];
}

/** The slots of one layer: inputs of the step that an engine reads where they are. */
export interface CachedKV {
  /** [B, G, C, D], or packed in bytes. */
  readonly keys: Value;
  readonly values: Value;
  /** [B, G, C, n]; null where the buffer has none. */
  readonly keyScales: Value | null;
  readonly valueScales: Value | null;
}

/** Slots of some groups of a layer as numbers. See {@link OpAttributes.gatherSlots}. */
export function gatherSlots(g: OpGraph, stored: Value, index: Value, kind: BufferKind, size: number): Value {
  const type: ValueType = { dtype: 'float32', shape: [...index.shape, size] };
  return g.add('gatherSlots', [stored, index], { kind, size }, [type])[0];
}

export interface AttendInputs {
  /** [B, H, T, D] */
  readonly q: Value;
  /** [B, G, T, D] */
  readonly k: Value;
  /** [B, G, T, Dv] */
  readonly v: Value;
  /** [B, T] */
  readonly positions: Value;
  /** [B, 1 or G, C] */
  readonly slots: Value;
  /** [B, 1 or G, C]; null: each slot stands for one token. */
  readonly logTokens: Value | null;
  readonly cached: CachedKV;
  /** [B, sets, R·T]; null: sums of the weights are not wanted. */
  readonly queryWeights: Value | null;
  /** [B, sets or T, T]; null: maxima of the weights are not wanted. */
  readonly queryMask: Value | null;
  /** [H]; null: there are none. */
  readonly sinks: Value | null;
}

/** Attention to the slots of a cache and to the chunk itself. See {@link OpAttributes.attend}. */
export function attend(
  g: OpGraph,
  inputs: AttendInputs,
  attributes: OpAttributes['attend'],
): { readonly y: Value; readonly sums: Value | null; readonly maxima: Value | null } {
  const { q, k, v, positions, slots, logTokens, cached, queryWeights, queryMask, sinks } = inputs;
  checkHeads(q, k);
  const list = [
    q,
    k,
    v,
    positions,
    slots,
    queryWeights,
    cached.keys,
    cached.values,
    cached.keyScales,
    cached.valueScales,
    sinks,
    queryMask,
    logTokens,
  ];
  const reduced = (by: Value | null): readonly ValueType[] =>
    by ? [{ dtype: 'float32', shape: [k.shape[0], k.shape[1], by.shape[1], addDims(slots.shape[2], q.shape[2])] }] : [];
  const types = [mixed(q, v), ...reduced(queryWeights), ...reduced(queryMask)];
  const [y, ...rest] = g.add('attend', list, attributes, types);
  return { y, sums: queryWeights && rest[0], maxima: queryMask && rest[rest.length - 1] };
}

export interface EchoInputs extends Pick<AttendInputs, 'k' | 'positions' | 'slots' | 'logTokens' | 'cached' | 'sinks'> {
  /** Queries [B, H, T, D] and keys [B, G, T, D] of the chunk, rotated to `echoedPositions`. */
  readonly echoed: readonly [Value, Value];
  /** [B, T] */
  readonly echoedPositions: Value;
  /** [B, E, T]; E is 0 where nothing is wanted of this step, else 1. */
  readonly mask: Value;
}

/**
 * The largest weights that the chunk would pay if it were read once more [B, G, E, C + T or T]. See
 * {@link OpAttributes.echo}.
 */
export function echo(g: OpGraph, inputs: EchoInputs, attributes: OpAttributes['echo']): Value {
  const { k, echoed, positions, slots, logTokens, echoedPositions, cached, mask, sinks } = inputs;
  const [q, copy] = echoed;
  checkHeads(q, k);
  checkHeads(q, copy);
  const columns = attributes.isOfHeld ? addDims(slots.shape[2], q.shape[2]) : q.shape[2];
  const shape = [k.shape[0], k.shape[1], mask.shape[1], columns];
  const { keys, keyScales } = cached;
  const list = [q, k, copy, positions, slots, echoedPositions, keys, mask, keyScales, sinks, logTokens];
  return g.add('echo', list, attributes, [{ dtype: 'float32', shape }])[0];
}

/** The products of all keys with the sum of their directions [B, G, C + T]. See {@link OpAttributes.keyProducts}. */
export function keyProducts(g: OpGraph, k: Value, sums: Value, cached: CachedKV, buffer: BufferChoice): Value {
  const { keys, keyScales } = cached;
  const [B, G, T] = k.shape;
  const type: ValueType = { dtype: 'float32', shape: [B, G, addDims(keys.shape[2], T)] };
  return g.add('keyProducts', [k, sums, keys, keyScales], { buffer }, [type])[0];
}

/** Queries [B, H, T, D], and the keys and values [B, G, S, ·] that they attend to. */
interface GivenHeads {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
}

/** Attention to given keys and values. @param mask [B, Tc, S]. @returns [B, T, H·Dv] */
export function attendTo(g: OpGraph, { q, k, v }: GivenHeads, mask: Value, attributes: ScoreAttributes): Value {
  checkHeads(q, k);
  return g.add('attendTo', [q, k, v, mask], attributes, [mixed(q, v)])[0];
}

/** Attention within one whole sequence. @param tokens mask and order [B, T]. @returns [B, T, H·Dv] */
export function attendWithin(
  g: OpGraph,
  { q, k, v }: GivenHeads,
  { mask, order }: { readonly mask: Value; readonly order: Value },
  attributes: OpAttributes['attendWithin'],
): Value {
  checkHeads(q, k);
  return g.add('attendWithin', [q, k, v, mask, order], attributes, [mixed(q, v)])[0];
}

/** x [B, H, T, D], multiplied by a factor that grows with the position. @param positions [B, T] */
export function scaleByPosition(g: OpGraph, x: Value, positions: Value, attributes: QueryTemperature): Value {
  return g.add('scaleByPosition', [x, positions], attributes, [x])[0];
}

/** Weighted sums of queries and of their outer products. @param q [B, H, T, D]. @param weights [B, T] */
export function queryMoments(g: OpGraph, q: Value, weights: Value, groups: number): { sum: Value; outer: Value } {
  const [B, H, , D] = q.shape;
  const [sum, outer] = g.add('queryMoments', [q, weights], { groups }, [
    { dtype: 'float32', shape: [B, H, D] },
    { dtype: 'float32', shape: [B, H, D, D] },
  ]);
  return { sum, outer };
}

/** Attention to prefixes. @param q [B, H, T, D]. See {@link OpAttributes.prefixAttend}. @returns [B, T, H·Dv] */
export function prefixAttend(
  g: OpGraph,
  q: Value,
  prefix: { readonly keys: Value; readonly values: Value; readonly gate: Value; readonly hidden: Value },
  attributes: ScoreAttributes,
): Value {
  const { keys, values, gate, hidden } = prefix;
  return g.add('prefixAttend', [q, keys, values, gate, hidden], attributes, [mixed(q, values)])[0];
}

function mixed(q: Value, v: Value): ValueType {
  const [B, H, T] = q.shape;
  return { dtype: 'float32', shape: [B, T, (H as number) * (v.shape[3] as number)] };
}

function checkHeads(q: Value, k: Value): void {
  const [heads, groups] = [q.shape[1] as number, k.shape[1] as number];
  if (heads % groups !== 0) throw new GraphError(`attention: ${heads} query heads do not divide into ${groups} groups`);
  if (q.shape[3] !== k.shape[3])
    throw new GraphError(`attention: queries have ${q.shape[3]} dimensions and keys ${k.shape[3]}`);
}
