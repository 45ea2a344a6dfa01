/**
 * @file Which groups of a layer a step reads together, where groups differ in their slots.
 */
import { range } from '../../util/numbers.ts';

/** Groups whose slots a step reads together. */
export interface TablePart {
  /** Of the inputs that it is read by: the table's, or {@link partName}. */
  readonly name: string;
  readonly groups: readonly number[];
}

/** Gathered slots are filled up to a multiple: ggml multiplies multiples of 16 faster, and lengths share graphs. */
export const FILL = 32;

/** The name of a part of a layer group. */
export const partName = (layerGroup: string, part: number): string => `${layerGroup}.${part}`;

/**
 * What a part costs beyond its slots, in slots: its operators, and the waits of threads between them. Between 0 and 400
 * no difference was measured beyond the noise, with 8 groups a layer (Llama 3.2 1B).
 */
const COST = 128;

/**
 * The groups of a layer, distributed so that filling each part up to the slots of its longest group, and the parts
 * themselves, cost the least.
 * @param budgets slots of each group.
 * @param kinds only groups of the same kind come together.
 */
export function groupedParts(budgets: readonly number[], kinds: readonly string[]): number[][] {
  const parts = [...new Set(kinds)].flatMap((kind) =>
    ofOneKind(
      range(budgets.length).filter((g) => kinds[g] === kind),
      budgets,
    ),
  );
  return parts.map((groups) => groups.sort((a, b) => a - b)).sort(([a], [b]) => a - b);
}

/** Parts are runs of the groups in the order of their slots. */
function ofOneKind(groups: readonly number[], budgets: readonly number[]): number[][] {
  const sorted = [...groups].sort((a, b) => budgets[a] - budgets[b]);
  /** By how many of them are distributed: the least cost, and how many of them are in parts before the last. */
  const best = [{ cost: 0, before: 0 }];
  for (let count = 1; count <= sorted.length; count++) {
    const longest = budgets[sorted[count - 1]];
    const options = range(count).map((before) => ({
      cost: best[before].cost + COST + (count - before) * longest,
      before,
    }));
    best.push(options.reduce((a, b) => (b.cost < a.cost ? b : a)));
  }
  const parts: number[][] = [];
  for (let count = sorted.length; count > 0; count = best[count].before)
    parts.push(sorted.slice(best[count].before, count));
  return parts;
}
