/**
 * @file The operator echo: its masks, which queries count, and the weights of those that do.
 */
import { bufferName } from '../../../kvcache/buffers.ts';
import { HIDDEN } from '../../../kvcache/slots/slots.ts';
import type { OpNode, ScoreAttributes, Value } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import type { Tensor } from '../memory/tensor.ts';
import { largest, maximaOf, perGroup, weigh, withSlots } from './attention.ts';
import { canFuse, fusedLong } from './fused-attention.ts';
import type { GraphMaker } from './graph-maker.ts';
import { need, type Scope } from './lowering.ts';
import {
  chunkMask,
  echoDistances,
  echoMask,
  type MaskSizes,
  readsPositions,
  type StepMaskInputs,
  slotMask,
  slotsAndChunk,
  withAlibi,
} from './masks.ts';

/** Widths of values that the fused operator computes in tiles are multiples of it. */
const TILE = 16;

/** The largest weights of queries that read the chunk once more. */
export function lowerEcho(scope: Scope, node: OpNode<'echo'>): [Tensor] {
  const { g, get, optional } = scope;
  const [q, k, copy, , slots, , keys, mask, keyScales, sinks] = node.inputs;
  if (keyScales)
    throw new GraphError(
      `the ggml engine does not read slots of ${bufferName(node.attributes.buffer)} with scales apart`,
    );
  const [B, sets, T] = scope.dimsOf(mask!);
  const [, , C] = scope.dimsOf(slots!);
  const [chunkKeys, queries] = [get(k!), get(q!)];
  const G = chunkKeys.dims[1];
  const { isOfHeld } = node.attributes;
  if (sets === 0) return [g.derive([B, G, 0, isOfHeld ? C + T : T], () => {})];
  const cached = C === 0 ? null : scope.slots(keys!);
  // A row alone has no padding.
  const counted = B === 1 || T === 1 ? null : countedQueries(scope, mask!, (queries.dims[1] / G) * T, G);
  const both = [chunkKeys, get(copy!)] as const;
  return [echo(g, queries, both, cached, maskOf(scope, node), counted, optional(sinks), node.attributes)];
}

/** The mask of an echo, which layers that hide the same share. */
function maskOf(scope: Scope, { inputs, attributes }: OpNode<'echo'>): Tensor {
  const { g } = scope;
  const [, , , positions, slots, echoed, , mask] = inputs;
  const names = {
    positions: need(positions, 'positions').name,
    slots: need(slots, 'slots').name,
    logTokens: inputs[10]?.name ?? null,
    echoedPositions: need(echoed, 'positions of the echo').name,
    counted: need(mask, 'the mask of the echo').name,
  };
  const [B, T] = scope.dimsOf(positions!);
  const [, groups, C] = scope.dimsOf(slots!);
  const sizes = { B, T, C, groups };
  const { window, chunk, alibi } = attributes;
  const key = `echo ${names.slots} ${window} ${chunk} ${alibi !== null}`;
  const hidden = scope.shared(key, () =>
    readsPositions(attributes)
      ? echoMask(g, names, sizes, attributes)
      : slotsAndChunk(
          g,
          slotsInUse(scope, names, sizes),
          [countedMask(scope, mask!), chunkMaskOf(scope, positions!)],
          T,
        ),
  );
  if (!alibi) return hidden;
  return scope.shared(`${key} ${alibi}`, () => {
    const distances = scope.shared(`echo distances ${names.slots}`, () => echoDistances(g, names, sizes));
    return withAlibi(g, hidden, distances, alibi);
  });
}

/** Which slots are in use, as a mask [B, groups, C]. */
export function slotsInUse(scope: Scope, names: Omit<StepMaskInputs, 'positions'>, sizes: MaskSizes): Tensor {
  return scope.shared(`slots in use ${names.slots}`, () => slotMask(scope.g, names, sizes));
}

/** Which tokens of its chunk a token sees. @param positions [B, T] */
export function chunkMaskOf(scope: Scope, positions: Value): Tensor {
  const [B, T] = scope.dimsOf(positions);
  return scope.shared(`chunk mask ${positions.name}`, () => chunkMask(scope.g, positions.name, [B, T]));
}

/** Tokens that are no padding as a mask [B, 1, 1, T]. @param mask [B, 1, T] */
function countedMask(scope: Scope, mask: Value): Tensor {
  const [B, , T] = scope.dimsOf(mask);
  return scope.shared(`counted mask ${mask.name}`, () =>
    scope.g.derive([B, 1, 1, T], (given, out) => {
      const counts = given[mask.name].data as Float32Array;
      for (let i = 0; i < out.length; i++) out[i] = counts[i] > 0 ? 0 : HIDDEN;
    }),
  );
}

/**
 * For maxima over queries [B, G, n]: of queries that do not count, the first one that does takes the row, or the first
 * one of all.
 * @param mask [B, sets, T]. @param n R·T
 */
export function countedQueries(scope: Scope, mask: Value, n: number, groups: number, set = 0): Tensor {
  const [B, sets, T] = scope.dimsOf(mask);
  const { g } = scope;
  return scope.shared(`counted ${mask.name} ${set} ${groups} ${n}`, () =>
    g.deriveIndex([B, groups, n], (given, out) => {
      const counts = given[mask.name].data as Float32Array;
      for (let row = 0; row < B; row++) {
        const from = (row * sets + set) * T;
        const isCounted = (query: number) => counts[from + (query % T)] > 0;
        let first = 0;
        while (first < T - 1 && !isCounted(first)) first++;
        for (let i = 0; i < groups * n; i++) out[row * groups * n + i] = isCounted(i % n) ? i % n : first;
      }
    }),
  );
}

/**
 * The largest weights of queries that read the chunk once more [B, G, 1, C + T or T].
 * @param q the queries of this reading [B, H, T, D]
 * @param k the chunk's keys, and those of its copy [B, G, T, D]
 * @param keys of the slots [B, G, C, D]; null: there are none.
 * @param mask of slots, chunk and its copy [B, 1 or G or H, T, C + 2T]
 * @param counted queries that stand for padding, as a set of {@link WantedMaxima} has them.
 */
function echo(
  g: GraphMaker,
  q: Tensor,
  k: readonly [Tensor, Tensor],
  keys: Tensor | null,
  mask: Tensor,
  counted: Tensor | null,
  sinks: Tensor | null,
  attributes: ScoreAttributes & { readonly isOfHeld: boolean; readonly alibi: Float32Array | null },
): Tensor {
  const [, H, T] = q.dims;
  const C = keys?.dims[2] ?? 0;
  // One product: scores that are joined afterwards are as many numbers as all keys for each query.
  const all = g.concat([keys ? withSlots(g, keys, k[0]) : k[0], k[1]], 2);
  const { isOfHeld, alibi } = attributes;
  const isShort = T <= q.dims[3] && T % TILE === 0;
  if (!isOfHeld && !counted && isShort && canFuse(q, all, mask, sinks, alibi))
    return echoOfChunk(g, [q, all], [C, T], mask, attributes);
  const weights = weigh(g, g.multiply(all, perGroup(g, q, all.dims[1])), mask, [H, T], attributes, sinks);
  const from = isOfHeld ? 0 : C;
  return maximaOf(g, g.slice(weights, 3, from, C + T - from), [counted], [H, T]);
}

/**
 * The same for the chunk alone, by the fused operator, in half the time: with unit vectors as values, what it gives of a
 * query are the weights of the chunk's tokens.
 */
function echoOfChunk(
  g: GraphMaker,
  [q, keys]: readonly [Tensor, Tensor],
  [C, T]: readonly [number, number],
  mask: Tensor,
  attributes: ScoreAttributes,
): Tensor {
  const [B, H] = q.dims;
  const [, G, S] = keys.dims;
  const values = g.once(`unit vectors ${B} ${G} ${C} ${T} ${S}`, () => {
    const units = new Float32Array(S * T);
    for (let t = 0; t < T; t++) units[(C + t) * T + t] = 1;
    return g.repeat(g.over(units, [1, 1, S, T]), [B, G, S, T]);
  });
  const weights = fusedLong(g, [q, keys, values], mask, attributes); // [B, T, H·T]
  const ofHeads = largest(g, g.reshape(weights, [B, T, 1, H * T]));
  return g.reshape(largest(g, g.reshape(ofHeads, [B * G, H / G, 1, T])), [B, G, 1, T]);
}
