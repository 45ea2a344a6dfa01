/**
 * @file Names of a step's inputs, outputs and lengths that hold a number or a name. A model declares them (model/gpt.ts
 * says what is in each), `step/` fills and reads them, and engines find the keys and values of a chunk by them.
 */

/** A layer's number, or `L.I` for a part of its groups. */
type Layer = number | string;

export const INPUT = {
  /** @param group a layer group, or a part of it. */
  slots: (group: string) => `slots.${group}`,
  logTokens: (group: string) => `logTokens.${group}`,
  /** Where the slots of a part of a layer group are among those of all groups. */
  slotIndex: (part: string) => `slotIndex.${part}`,
  /** @param part `k` or `v`, or the scales of one of them: `k.scale`. */
  held: (part: string, layer: Layer) => `${part}.${layer}`,
  keySums: (layer: Layer) => `keySums.${layer}`,
  cos: (rope: number) => `cos.${rope}`,
  sin: (rope: number) => `sin.${rope}`,
  /** The same input for a chunk that is read once more. */
  echo: (name: string) => `echo.${name}`,
  state: (name: string) => `state.${name}`,
  cross: (name: string) => `cross.${name}`,
  /** @param heads of a query group. */
  queryWeights: (heads: number) => `queryWeights.${heads}`,
} as const;

export const OUTPUT = {
  keys: (layer: number) => `keys.${layer}`,
  values: (layer: number) => `values.${layer}`,
  next: (state: string) => `next.${state}`,
  residual: (layer: number) => `residual.${layer}`,
  /** @param group a layer group, or a part of it. */
  reduced: (kind: 'sum' | 'max' | 'echo' | 'along', group: string) => `${kind}.${group}`,
  moments: (kind: 'sum' | 'outer', layer: number) => `moments.${kind}.${layer}`,
} as const;

export const LENGTH = {
  slots: (group: string) => `C.${group}`,
  groups: (group: string) => `G.${group}`,
  /** Slots of all groups and rows. */
  stored: (group: string) => `N.${group}`,
} as const;

/** The input that holds of earlier tokens what an output is of the chunk: `k.L` for `keys.L`. Null: there is none. */
export function heldLike(output: string): string | null {
  const [, half, layer] = /^(key|value)s\.(\d+)$/.exec(output) ?? [];
  return half === undefined ? null : INPUT.held(half[0], layer);
}
