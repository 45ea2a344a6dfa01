/**
 * @file What is added to attention scores, made on the host: once a step for all layers that hide the same.
 */
import { EMPTY_SLOT, HIDDEN } from '../../../kvcache/slots/slots.ts';
import type { MaskAttributes } from '../../../ops/types.ts';
import type { Tensor } from '../memory/tensor.ts';
import { binary, unary } from './elementwise.ts';
import type { GraphMaker, RunInputs } from './graph-maker.ts';
import { filledSlots } from './slot-use.ts';

/** Names of the inputs that a step's masks are made of. */
export interface StepMaskInputs {
  /** [B, T] */
  readonly positions: string;
  /** [B, 1 or G, C] */
  readonly slots: string;
  /** [B, 1 or G, C], added where a slot is seen; null: 0. */
  readonly logTokens: string | null;
}

export interface MaskSizes {
  readonly B: number;
  readonly T: number;
  readonly C: number;
  /** 1, or G where the groups of a layer hold different positions. */
  readonly groups: number;
}

/** A number between the first position that a query attends to and the one before it; null: there is no such limit. */
function beforeFirst({ window, chunk }: MaskAttributes): ((position: number) => number) | null {
  if (window !== null) return (position) => position - window;
  if (chunk !== null) return (position) => Math.floor(position / chunk) * chunk - 0.5;
  return null;
}

const floats = (inputs: RunInputs, name: string): Float32Array => inputs[name].data as Float32Array;

/** Fills what is added to the scores of the slots from index `from` on: those before `oldest` are hidden. */
function fillSlots(
  out: Float32Array,
  to: number,
  { cached, added }: { readonly cached: Float32Array; readonly added: Float32Array | null },
  from: number,
  count: number,
  oldest: number,
): void {
  for (let c = 0; c < count; c++) out[to + c] = cached[from + c] > oldest ? 0 : HIDDEN;
  if (added) for (let c = 0; c < count; c++) if (out[to + c] === 0) out[to + c] = added[from + c];
}

const slotsOf = (inputs: RunInputs, { slots, logTokens }: Pick<StepMaskInputs, 'slots' | 'logTokens'>) => ({
  cached: floats(inputs, slots),
  added: logTokens === null ? null : floats(inputs, logTokens),
});

/** The mask of slots and chunk [B, groups, T, C + T]: 0, or HIDDEN. */
export function stepMask(
  g: GraphMaker,
  names: StepMaskInputs,
  { B, T, C, groups }: MaskSizes,
  attributes: MaskAttributes,
): Tensor {
  const before = beforeFirst(attributes);
  return g.derive([B, groups, T, C + T], (inputs, out) => {
    const at = floats(inputs, names.positions);
    const slots = slotsOf(inputs, names);
    const width = C + T;
    for (let b = 0; b < B; b++)
      for (let group = 0; group < groups; group++) {
        const from = (b * groups + group) * C;
        const to = (b * groups + group) * T * width;
        for (let t = 0; t < T; t++) {
          const line = to + t * width;
          const position = at[b * T + t];
          const oldest = before ? before(position) : -0.5;
          // Without a window all queries see the same slots.
          if (t > 0 && !before) out.copyWithin(line, to, to + C);
          else fillSlots(out, line, slots, from, C, oldest);
          for (let s = 0; s < T; s++) {
            const key = at[b * T + s];
            const isSeen = key <= position && (before === null || key > before(position));
            out[line + C + s] = isSeen ? 0 : HIDDEN;
          }
        }
      }
  });
}

/** Whether queries of a chunk see different slots, or see them at a distance. */
export function readsPositions({ window, chunk, alibi }: MaskAttributes): boolean {
  return window !== null || chunk !== null || alibi !== null;
}

/** Which slots are in use [B, groups, C]: what is added to their scores, or HIDDEN. */
export function slotMask(
  g: GraphMaker,
  names: Omit<StepMaskInputs, 'positions'>,
  { B, groups, C }: Omit<MaskSizes, 'T'>,
): Tensor {
  return g.derive([B, groups, C], (inputs, out) => {
    fillSlots(out, 0, slotsOf(inputs, names), 0, out.length, EMPTY_SLOT);
  });
}

/** Which tokens of a chunk each of its tokens sees [B, 1, T, T]: 0, or HIDDEN. */
export function chunkMask(g: GraphMaker, positions: string, [B, T]: readonly [number, number]): Tensor {
  return g.derive([B, 1, T, T], (inputs, out) => {
    const at = floats(inputs, positions);
    for (let i = 0; i < B * T; i++) {
      const first = i - (i % T);
      for (let s = 0; s < T; s++) out[i * T + s] = at[first + s] <= at[i] ? 0 : HIDDEN;
    }
  });
}

/**
 * The mask where all queries see the same slots, put together in the graph: 30 layers with slots of their own took 70
 * MB of the host for masks of 256 tokens, and the time to fill them.
 * @param hidden 0 or HIDDEN for each slot [B, groups, C]
 * @param chunk the same for the tokens behind the slots [B, 1, T or 1, ·]
 * @returns [B, groups, T, C + …]
 */
export function slotsAndChunk(g: GraphMaker, hidden: Tensor, chunk: readonly Tensor[], T: number): Tensor {
  const [B, groups, C] = hidden.dims;
  const parts = [g.reshape(hidden, [B, groups, 1, C]), ...chunk];
  return g.concat(
    parts.map((part) => g.repeat(part, [B, groups, T, part.dims[3]])),
    3,
  );
}

/** Names of the inputs that the masks of an echo are made of, besides those of a step. */
export interface EchoMaskInputs extends StepMaskInputs {
  /** [B, T] */
  readonly echoedPositions: string;
  /** [B, 1, T]: 0 for padding. */
  readonly counted: string;
}

/**
 * One query that reads the chunk once more: its position, and where what it looks at begins in the inputs and in the
 * output.
 */
interface EchoedQuery {
  readonly t: number;
  readonly position: number;
  /** Of the row's chunk. */
  readonly chunk: number;
  /** Of the group's slots. */
  readonly slots: number;
  /** Of the query's slots in the output; C further on are those of the chunk, T further on those of its copy. */
  readonly line: number;
}

/** [B, groups, T, C + 2T], filled query by query: slots, chunk and the chunk's copy. */
function echoed(
  g: GraphMaker,
  { echoedPositions }: EchoMaskInputs,
  { B, T, C, groups }: MaskSizes,
  fill: (query: EchoedQuery, out: Float32Array, inputs: RunInputs) => void,
): Tensor {
  const width = C + 2 * T;
  return g.derive([B, groups, T, width], (inputs, out) => {
    const positions = floats(inputs, echoedPositions);
    for (let row = 0; row < B * groups; row++) {
      const chunk = Math.floor(row / groups) * T;
      for (let t = 0; t < T; t++) {
        const query = { t, position: positions[chunk + t], chunk, slots: row * C, line: (row * T + t) * width };
        fill(query, out, inputs);
      }
    }
  });
}

/**
 * The mask of slots, chunk and the chunk's copy for queries that read the chunk once more, by positions
 * [B, groups, T, C + 2T].
 */
export function echoMask(g: GraphMaker, names: EchoMaskInputs, sizes: MaskSizes, attributes: MaskAttributes): Tensor {
  const { T, C } = sizes;
  const before = beforeFirst(attributes);
  return echoed(g, names, sizes, ({ t, position, chunk, slots, line }, out, inputs) => {
    const [at, again] = [floats(inputs, names.positions), floats(inputs, names.echoedPositions)];
    const counts = floats(inputs, names.counted);
    const oldest = before ? before(position) : -0.5;
    fillSlots(out, line, slotsOf(inputs, names), slots, C, oldest);
    for (let s = 0; s < T; s++) {
      out[line + C + s] = counts[chunk + s] > 0 && at[chunk + s] > oldest ? 0 : HIDDEN;
      out[line + C + T + s] = s <= t && again[chunk + s] > oldest ? 0 : HIDDEN;
    }
  });
}

/** How far behind the echoed query each key is [B, groups, T, C + 2T]. */
export function echoDistances(g: GraphMaker, names: EchoMaskInputs, sizes: MaskSizes): Tensor {
  const { T, C } = sizes;
  return echoed(g, names, sizes, ({ position, chunk, slots, line }, out, inputs) => {
    const [at, again] = [floats(inputs, names.positions), floats(inputs, names.echoedPositions)];
    const cached = floats(inputs, names.slots);
    for (let c = 0; c < C; c++) {
      const key = cached[slots + c];
      out[line + c] = key === EMPTY_SLOT ? 0 : key - position;
    }
    for (let s = 0; s < T; s++) {
      out[line + C + s] = at[chunk + s] - position;
      out[line + C + T + s] = again[chunk + s] - position;
    }
  });
}

/**
 * The mask where the chunk lies in the slots behind those in use [B, 1, T, S]. The groups of a layer have as many slots
 * in use.
 * @param S slots that are attended to, of C.
 */
export function joinedMask(
  g: GraphMaker,
  names: StepMaskInputs,
  { B, T, C, S, groups }: MaskSizes & { readonly S: number },
  attributes: MaskAttributes,
): Tensor {
  const before = beforeFirst(attributes);
  return g.derive([B, 1, T, S], (inputs, out) => {
    const at = floats(inputs, names.positions);
    const slots = slotsOf(inputs, names);
    out.fill(HIDDEN);
    for (let b = 0; b < B; b++) {
      const from = b * groups * C;
      const filled = filledSlots(slots.cached, from, C);
      for (let t = 0; t < T; t++) {
        const line = (b * T + t) * S;
        const position = at[b * T + t];
        const oldest = before ? before(position) : EMPTY_SLOT;
        fillSlots(out, line, slots, from, filled, oldest);
        for (let s = 0; s < T; s++) {
          const key = at[b * T + s];
          if (key <= position && key > oldest) out[line + filled + s] = 0;
        }
      }
    }
  });
}

/** The slot of each of the chunk's tokens [B, 1, T]: behind those in use. */
export function chunkSlotIndex(g: GraphMaker, slots: string, { B, T, C, groups }: MaskSizes): Tensor {
  return g.deriveIndex([B, 1, T], (inputs, out) => {
    for (let b = 0; b < B; b++) {
      const filled = filledSlots(floats(inputs, slots), b * groups * C, C);
      for (let t = 0; t < T; t++) out[b * T + t] = filled + t;
    }
  });
}

/** How far behind the query each key is, as a negative number [B, groups, T, C + T]. */
export function stepDistances(
  g: GraphMaker,
  { positions, slots }: Pick<StepMaskInputs, 'positions' | 'slots'>,
  { B, T, C, groups }: MaskSizes,
): Tensor {
  return g.derive([B, groups, T, C + T], (inputs, out) => {
    const at = floats(inputs, positions);
    const cached = floats(inputs, slots);
    const width = C + T;
    for (let row = 0; row < B * groups; row++) {
      const b = Math.floor(row / groups);
      for (let t = 0; t < T; t++) {
        const line = (row * T + t) * width;
        const position = at[b * T + t];
        for (let c = 0; c < C; c++) {
          const key = cached[row * C + c];
          out[line + c] = key === EMPTY_SLOT ? 0 : key - position;
        }
        for (let s = 0; s < T; s++) out[line + C + s] = at[b * T + s] - position;
      }
    }
  });
}

/** The mask of one whole sequence [B, 1, T, T], and its distances. */
export function sequenceMask(
  g: GraphMaker,
  mask: string,
  order: string,
  [B, T]: readonly [number, number],
  { window, causal }: MaskAttributes & { readonly causal: boolean },
): Tensor {
  return g.derive([B, 1, T, T], (inputs, out) => {
    const hidden = floats(inputs, mask);
    const at = floats(inputs, order);
    for (let b = 0; b < B; b++)
      for (let t = 0; t < T; t++)
        for (let s = 0; s < T; s++) {
          const [query, key] = [at[b * T + t], at[b * T + s]];
          const isAhead = causal && key > query;
          const isOutside = window !== null && (key <= query - window || (!causal && key >= query + window));
          out[(b * T + t) * T + s] = isAhead || isOutside ? HIDDEN : hidden[b * T + s];
        }
  });
}

export function sequenceDistances(g: GraphMaker, order: string, [B, T]: readonly [number, number]): Tensor {
  return g.derive([B, 1, T, T], (inputs, out) => {
    const at = floats(inputs, order);
    for (let b = 0; b < B; b++)
      for (let t = 0; t < T; t++) for (let s = 0; s < T; s++) out[(b * T + t) * T + s] = at[b * T + s] - at[b * T + t];
  });
}

/**
 * The mask with each head's slope times the distances added [B, H, T, ·].
 * @param mask [B, 1 or G, T, ·], and distances.
 */
export function withAlibi(g: GraphMaker, mask: Tensor, distances: Tensor, slopes: Float32Array): Tensor {
  const [B, groups, T, S] = mask.dims;
  const H = slopes.length;
  const perHead = (x: Tensor): Tensor => {
    if (groups === 1) return g.repeat(x, [B, H, T, S]);
    const wide = g.repeat(g.reshape(x, [B * groups, 1, T * S]), [B * groups, H / groups, T * S]);
    return g.reshape(wide, [B, H, T, S]);
  };
  const factors = g.over(slopes, [1, H, 1, 1]);
  return binary(g, 'add', binary(g, 'mul', perHead(distances), factors), perHead(mask));
}

/** 1 for what may be seen of a mask of zeros and HIDDEN, else 0. */
export const seen = (g: GraphMaker, mask: Tensor): Tensor => unary(g, 'exp', mask);
