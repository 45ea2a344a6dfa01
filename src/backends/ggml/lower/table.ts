/**
 * @file The table of operators.
 */
import { bufferName } from '../../../kvcache/buffers.ts';
import type { OpName, OpNode, UnaryKind, Value } from '../../../ops/types.ts';
import { GraphError } from '../../../util/errors.ts';
import { range } from '../../../util/numbers.ts';
import type { Tensor } from '../memory/tensor.ts';
import { lowRank, lowRankRows } from './adapters.ts';
import {
  attend,
  attendJoined,
  attendTo,
  type CachedSlots,
  type JoinedSlots,
  keyProducts,
  prefixAttend,
  queryMoments,
  type WantedMaxima,
} from './attention.ts';
import { chunkMaskOf, countedQueries, lowerEcho, slotsInUse } from './echo.ts';
import {
  affine,
  binary,
  clip,
  gated,
  reduceSum,
  reshapeTo,
  scale,
  softcap,
  split,
  unary,
  xielu,
} from './elementwise.ts';
import { expertLinear, experts, route } from './experts.ts';
import { blockLinear, linear, norm, rotate, rotateOne, rotationAngles, rotationFactors } from './layers.ts';
import { type Lower, need, type Scope } from './lowering.ts';
import {
  chunkSlotIndex,
  joinedMask,
  readsPositions,
  seen,
  sequenceDistances,
  sequenceMask,
  slotsAndChunk,
  stepDistances,
  stepMask,
  withAlibi,
} from './masks.ts';
import { gatedDelta, selectiveScan } from './recurrences.ts';
import { canJoin } from './slot-use.ts';
import { convolve, linearScan } from './states.ts';

const unsupported = (op: string): never => {
  throw new GraphError(`the ggml engine does not compute ${op}`);
};

export const LOWERINGS: { readonly [K in OpName]?: Lower<K> } = {
  embed: ({ g, get }, { inputs: [ids, table] }) => [g.rows(get(table!), get(ids!))],
  linear: ({ get, matrix, optional, g }, { inputs: [x, weight, bias] }) => [
    linear(g, get(x!), matrix(weight!), optional(bias)),
  ],
  norm: ({ g, get, optional }, { inputs: [x, weight, bias], attributes }) => [
    norm(g, get(x!), optional(weight), optional(bias), attributes),
  ],
  addNorm: ({ g, get, optional }, { inputs: [addend, x, weight, bias], attributes }) => {
    const sum = binary(g, 'add', get(x!), get(addend!));
    return [norm(g, sum, optional(weight), optional(bias), attributes), sum];
  },
  xielu: ({ g, get }, { inputs: [x, ...parameters] }) => [
    xielu(
      g,
      get(x!),
      parameters.map((value) => get(value!)),
    ),
  ],
  unary: ({ g, get }, { inputs: [x], attributes }) => [unary(g, attributes.kind, get(x!))],
  binary: ({ g, get, fusedInto }, { inputs: [a, b], attributes }) => {
    const gate = attributes.kind === 'mul' ? fusedInto(a) : null;
    if (gate?.op === 'unary')
      return [gated(g, (gate.attributes as { kind: UnaryKind }).kind, get(gate.inputs[0]!), get(b!))];
    return [binary(g, attributes.kind, get(a!), get(b!))];
  },
  scale: ({ g, get }, { inputs: [x], attributes }) => [scale(g, get(x!), attributes.factor)],
  softcap: ({ g, get }, { inputs: [x], attributes }) => [softcap(g, get(x!), attributes.cap)],
  clip: ({ g, get }, { inputs: [x], attributes }) => [clip(g, get(x!), attributes)],
  reshape: ({ g, get }, { inputs: [x], attributes }) => [reshapeTo(g, get(x!), attributes.target)],
  tokensLike: ({ g, get }, { inputs: [x, like] }) => {
    const value = get(x!);
    const [B, T] = get(like!).dims;
    return [g.reshape(value, [B, T, value.dims.at(-1)!])];
  },
  zerosLike: ({ g, get }, { inputs: [x] }) => [scale(g, get(x!), 0)],
  transpose: ({ g, get }, { inputs: [x], attributes }) => [g.transpose(get(x!), attributes.perm)],
  split: ({ g, get }, { inputs: [x], attributes }) => split(g, get(x!), attributes),
  concat: ({ g, get }, { inputs, attributes }) => [
    g.concat(
      inputs.map((value) => get(value!)),
      attributes.axis,
    ),
  ],
  gatherRows: ({ g, get }, { inputs: [table, index] }) => [g.rows(get(table!), get(index!))],
  reduceSum: ({ g, get }, { inputs: [x], attributes }) => [reduceSum(g, get(x!), attributes.axis)],
  rotate: (scope, { inputs: [x, cos, sin, index], attributes: { interleave, scaled } }) => {
    const { g } = scope;
    const value = scope.get(x!);
    const [B, , T, D] = value.dims;
    const pairs = scope.dimsOf(cos!)[1];
    const names = { cos: cos!.name, sin: sin!.name, index: index!.name };
    const key = `rotation ${names.cos} ${names.index} ${D} ${interleave}`;
    // ggml's operator copies what is not rotated two numbers at a time: heads of odd sizes would be written into the
    // next ones.
    if (B * T === 1 && !scaled && D % 2 === 0) {
      const angles = scope.shared(key, () => rotationAngles(g, names, [D, pairs]));
      return [rotateOne(g, value, angles, pairs, interleave)];
    }
    const factors = scope.shared(key, () => rotationFactors(g, names, [B, T, D, pairs], interleave));
    return [rotate(g, value, factors, pairs, interleave)];
  },
  attend: (scope, node) => {
    const { g, get, optional } = scope;
    const [q, k, v, , , queryWeights, keys, values, keyScales, , sinks, queryMask] = node.inputs;
    if (keyScales) return unsupported(`attention to slots of ${bufferName(node.attributes.buffer)} with scales apart`);
    const joined = joinedSlots(scope, node);
    const wanted = { queryWeights: optional(queryWeights), maxima: queryMask && maximaOf(scope, queryMask, node) };
    if (joined) return attendJoined(g, [get(q!), get(k!), get(v!)], joined, wanted, optional(sinks), node.attributes);
    const slots = scope.dimsOf(node.inputs[4]!);
    const cached: CachedSlots | null =
      slots[2] === 0 ? null : { keys: scope.slots(keys!, get(q!).dims[2] === 1), values: scope.slots(values!) };
    return attend(
      g,
      [get(q!), get(k!), get(v!)],
      cached,
      maskOf(scope, node),
      wanted,
      optional(sinks),
      node.attributes,
    );
  },
  echo: lowerEcho,
  keyProducts: (scope, { inputs: [k, sums, keys, keyScales], attributes: { buffer } }) => {
    if (keyScales) return unsupported(`products with keys of ${bufferName(buffer)} with scales apart`);
    const { g, get } = scope;
    return [keyProducts(g, get(k!), get(sums!), scope.dimsOf(keys!)[2] === 0 ? null : scope.slots(keys!))];
  },
  attendTo: (scope, { inputs: [q, k, v, mask], attributes }) => {
    const { g, get } = scope;
    const queries = get(q!);
    const given = get(mask!);
    const [B, Tc, S] = given.dims;
    const whole = scope.shared(`cross mask ${mask!.name}`, () =>
      g.repeat(g.reshape(given, [B, 1, Tc, S]), [B, 1, queries.dims[2], S]),
    );
    return [attendTo(g, [queries, get(k!), get(v!)], whole, attributes)];
  },
  attendWithin: (scope, { inputs: [q, k, v, mask, order], attributes }) => {
    const { g, get } = scope;
    const [B, , T] = get(q!).dims;
    const key = `sequence mask ${mask!.name} ${order!.name} ${attributes.window} ${attributes.causal}`;
    const hidden = scope.shared(key, () => sequenceMask(g, mask!.name, order!.name, [B, T], attributes));
    const { alibi } = attributes;
    const bias = alibi
      ? scope.shared(`${key} ${alibi}`, () => withAlibi(g, hidden, sequenceDistances(g, order!.name, [B, T]), alibi))
      : hidden;
    return [attendTo(g, [get(q!), get(k!), get(v!)], bias, attributes)];
  },
  queryMoments: ({ g, get }, { inputs: [q, weights] }) => queryMoments(g, get(q!), get(weights!)),
  route: ({ g, get, optional }, { inputs: [logits, choiceBias], attributes }) => {
    return route(g, get(logits!), optional(choiceBias), attributes);
  },
  experts: ({ g, get, matrix }, { inputs: [x, , chosen, weights, ...matrices], attributes }) => {
    const { layout, spec } = attributes;
    if (layout !== 'separate') return unsupported(`experts laid out ${layout}`);
    const count = spec.gated ? 3 : 2;
    const stacks = matrices.slice(0, count).map((value) => matrix(value!, spec.count));
    const biases = matrices.slice(count).map((value) => get(value!));
    return [experts(g, get(x!), get(chosen!), get(weights!), stacks, biases, spec)];
  },
  expertLinear: ({ g, get, matrix }, { inputs: [x, chosen, ...matrices], attributes: { count } }) => {
    if (matrices.length !== 1) return unsupported('experts in matrices of their own');
    return [expertLinear(g, get(x!), get(chosen!), matrix(matrices[0]!, count), count)];
  },
  convolve: (scope, { inputs: [state, x, weight, bias, times] }) =>
    convolve(
      scope.g,
      [scope.get(state!), scope.get(x!), scope.get(weight!), scope.optional(bias)],
      timesOf(scope, times),
    ),
  linearScan: (scope, { inputs: [state, decay, input, times] }) =>
    linearScan(scope.g, [scope.get(state!), scope.get(decay!), scope.get(input!)], timesOf(scope, times)),
  gatedDelta: (scope, { inputs: [state, q, k, v, decay, beta, times] }) => {
    const tensors = [state, q, k, v, decay, beta].map((value) => scope.get(value!));
    return gatedDelta(scope.g, tensors, timesOf(scope, times));
  },
  selectiveScan: (scope, { inputs: [state, x, dt, a, b, c, times], attributes }) => {
    const tensors = [state, x, dt, a, b, c].map((value) => scope.get(value!));
    return selectiveScan(scope.g, tensors, timesOf(scope, times), attributes);
  },
  headLinear: ({ g, get }, { inputs: [x, weight] }) => [g.multiply(get(weight!), get(x!))],
  scaleByPosition: (scope, { inputs: [x, positions], attributes: { beta, floor, offset } }) => {
    const { g } = scope;
    const [B, T] = scope.dimsOf(positions!);
    const { name } = need(positions, 'positions');
    const factor = scope.shared(`temperature ${beta} ${floor} ${offset}`, () =>
      g.derive([B, 1, T, 1], (inputs, out) => {
        const at = inputs[name].data as Float32Array;
        for (let i = 0; i < out.length; i++) out[i] = 1 + beta * Math.log1p(Math.floor((at[i] + offset) / floor));
      }),
    );
    return [binary(g, 'mul', scope.get(x!), factor)];
  },
  blockLinear: ({ g, get }, { inputs: [x, weight, bias] }) => [blockLinear(g, get(x!), get(weight!), get(bias!))],
  startMask: ({ g, get }, { inputs: [positions] }) => {
    const at = get(positions!);
    return [g.reshape(affine(g, unary(g, 'step', at), -1, 1), [...at.dims, 1])];
  },
  meanPool: ({ g, get }, { inputs: [x, mask] }) => {
    const value = get(x!);
    const [B, T, E] = value.dims;
    const counts = g.reshape(seen(g, get(mask!)), [B, T, 1]);
    const sum = reduceSum(g, binary(g, 'mul', value, counts), 1);
    return [g.reshape(binary(g, 'div', sum, reduceSum(g, counts, 1)), [B, E])];
  },
  lowRank: ({ g, get, optional }, { inputs: [x, a, mask, , ...blocks] }) => [
    lowRank(
      g,
      get(x!),
      get(a!),
      optional(mask),
      blocks.map((block) => get(block!)),
    ),
  ],
  lowRankRows: ({ g, get, optional }, { inputs: [ids, b, mask, a] }) => [
    lowRankRows(g, get(ids!), get(b!), optional(mask), get(a!)),
  ],
  rowVector: (scope, { inputs: [lines, ids, logitRows], attributes: { over } }) => {
    const { g } = scope;
    const value = scope.get(lines!);
    if (over === 'tokens') return [value];
    const [B, , width] = value.dims;
    const T = scope.dimsOf(ids!)[1];
    if (over === 'flat') return [g.reshape(g.repeat(value, [B, T, width]), [B * T, width])];
    const { name } = need(logitRows, 'the rows of logits');
    const count = scope.dimsOf(logitRows!)[0];
    const index = scope.shared(`rows of logits ${name}`, () =>
      g.deriveIndex([count], (inputs, out) => {
        const rows = inputs[name].data as BigInt64Array;
        for (let i = 0; i < out.length; i++) out[i] = Math.floor(Number(rows[i]) / T);
      }),
    );
    return [g.rows(g.reshape(value, [B, width]), index)];
  },
  prefixAttend: ({ g, get }, { inputs: [q, keys, values, gate, hidden], attributes }) => [
    prefixAttend(g, get(q!), [get(keys!), get(values!), get(gate!), get(hidden!)], attributes),
  ],
};

function timesOf(scope: Scope, times: Value | null) {
  const { name } = need(times, 'the times of states');
  return { name, count: scope.dimsOf(times!)[1] };
}

/** Slots that have space for the chunk; null: it is attended to apart. */
function joinedSlots(scope: Scope, node: OpNode<'attend'>): JoinedSlots | null {
  const { inputs, attributes } = node;
  const slots = need(inputs[4], 'slots');
  const use = scope.slotUse.get(slots.name);
  if (!use || !canJoin(node)) return null;
  const { g } = scope;
  const names = { positions: need(inputs[3], 'positions').name, slots: use.like, logTokens: inputs[12]?.name ?? null };
  const [B, T] = scope.dimsOf(inputs[3]!);
  const [, groups, C] = scope.dimsOf(slots);
  const sizes = { B, T, C, groups };
  const key = `joined ${names.positions} ${names.slots}`;
  const { window, chunk } = attributes;
  return {
    slots: { keys: scope.slots(inputs[6]!), values: scope.slots(inputs[7]!) },
    index: scope.shared(key, () => chunkSlotIndex(g, names.slots, sizes)),
    mask: scope.shared(`${key} ${window} ${chunk}`, () =>
      joinedMask(g, names, { ...sizes, S: use.length }, attributes),
    ),
  };
}

/** Maxima as a mask of queries [B, sets or T, T] wants them. */
function maximaOf(scope: Scope, mask: Value, { inputs, attributes }: OpNode<'attend'>): WantedMaxima {
  const [B, sets, T] = scope.dimsOf(mask);
  // A set for each query is of one token: padding has sets of its own.
  if (sets === T && T > 1) return 'each';
  const [, H] = scope.get(inputs[0]!).dims;
  const [, G] = scope.get(inputs[1]!).dims;
  // A row alone has no padding.
  const areAllCounted = T === 1 || (B === 1 && !attributes.masksQueries);
  return range(sets).map((set) => (areAllCounted ? null : countedQueries(scope, mask, (H / G) * T, G, set)));
}

/** The mask of a step's attention, which layers that hide the same share. */
function maskOf(scope: Scope, { inputs, attributes }: OpNode<'attend'>): Tensor {
  const { g } = scope;
  const [positions, slots] = [need(inputs[3], 'positions'), need(inputs[4], 'slots')];
  const names = { positions: positions.name, slots: slots.name, logTokens: inputs[12]?.name ?? null };
  const [B, T] = scope.dimsOf(positions);
  const [, groups, C] = scope.dimsOf(slots);
  const sizes = { B, T, C, groups };
  const { window, chunk, alibi } = attributes;
  const key = `mask ${names.positions} ${names.slots} ${window} ${chunk} ${alibi !== null}`;
  const mask = scope.shared(key, () =>
    T === 1 || readsPositions(attributes)
      ? stepMask(g, names, sizes, attributes)
      : slotsAndChunk(g, slotsInUse(scope, names, sizes), [chunkMaskOf(scope, positions)], T),
  );
  if (!alibi) return mask;
  return scope.shared(`${key} ${alibi}`, () => {
    const distances = scope.shared(`distances ${names.positions} ${names.slots}`, () => stepDistances(g, names, sizes));
    return withAlibi(g, mask, distances, alibi);
  });
}
