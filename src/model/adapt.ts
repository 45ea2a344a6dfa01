/**
 * @file What live adapters add to a model: behind a matrix, behind the embedding, behind a norm, beside an attention.
 * What they hold are inputs, so that one graph serves all adapters with the same hooks, each row of a batch its own.
 *
 * Inputs of a hook NAME: `lora.a.NAME` [r, in] and `lora.b.NAME` [r, out], where r runs over the ranks of all adapters
 * of the batch; where the columns are divided into blocks with ranks of their own, `lora.b.NAME.I` [rI, outI], and
 * `lora.ranks.NAME` int64 [blocks]: how many of r belong to each block; `scale.NAME` and `shift.NAME` [b, 1, out];
 * where rows differ, `lora.mask.NAME` [B, 1, r]: the factor of each rank for each row, and b is B, else 1. Of an
 * attention NAME: `prefix.k.NAME` and `prefix.v.NAME` [b, G, n·P, D], `prefix.gate.NAME` [b, H, n], and once for all of
 * them `prefix.hidden` [b, n, P]: n prefixes of up to P tokens each.
 */
import { lowRank, lowRankRows, rowVector } from '../ops/adapters.ts';
import { prefixAttend } from '../ops/attention.ts';
import { add, mul } from '../ops/basic.ts';
import type { Dim } from '../ops/shapes.ts';
import type { ScoreAttributes, Value } from '../ops/types.ts';
import { GraphError } from '../util/errors.ts';
import type { ModelContext } from './context.ts';

/** y of a linear layer, adapted. @param x [..., in], what the layer read. @param y [..., out] */
export function adaptLinear(ctx: ModelContext, x: Value, y: Value, name: string): Value {
  return changed(ctx, y, name, (mask) => {
    const { g } = ctx;
    const widths = ctx.adapters!.hooks.lowRank.get(name)!;
    const a = input(ctx, `lora.a.${name}`, 'float32', [`r.${name}`, x.shape.at(-1)!]);
    const single = widths.length === 1;
    const ranks = single ? null : input(ctx, `lora.ranks.${name}`, 'int64', [widths.length]);
    const blocks = widths.map((width, i) => {
      const block = single ? '' : `.${i}`;
      return input(ctx, `lora.b.${name}${block}`, 'float32', [`r.${name}${block}`, width]);
    });
    return lowRank(g, x, a, mask, blocks, ranks);
  });
}

/** Rows of the embedding table, adapted; a low-rank part's `lora.b.wte` is [V, r] there. @param y [B, T, width] */
export function adaptEmbedding(ctx: ModelContext, ids: Value, y: Value, name: string, rows: number): Value {
  return changed(ctx, y, name, (mask) => {
    const { g } = ctx;
    const b = input(ctx, `lora.b.${name}`, 'float32', [rows, `r.${name}`]);
    const a = input(ctx, `lora.a.${name}`, 'float32', [`r.${name}`, y.shape.at(-1)!]);
    return lowRankRows(g, ids, b, mask, a);
  });
}

/** scale · y + low-rank part + shift, as far as adapters have them. */
function changed(ctx: ModelContext, y: Value, name: string, lowRankPart: (mask: Value | null) => Value): Value {
  const { g, adapters: trace } = ctx;
  if (!trace) return y;
  if (trace.hooks.perRow && !linesOf(y)) return y; // the hook then counts as not met
  const out = y.shape.at(-1)!;
  let sum = trace.at('scale', name) ? mul(g, y, rowInput(ctx, `scale.${name}`, out, y)) : y;
  if (trace.at('lowRank', name)) {
    const mask = trace.hooks.perRow ? rowInput(ctx, `lora.mask.${name}`, `r.${name}`, y) : null;
    sum = add(g, sum, lowRankPart(mask));
  }
  return trace.at('shift', name) ? add(g, sum, rowInput(ctx, `shift.${name}`, out, y)) : sum;
}

/** Whether the norm's weight is an input; the norm itself is then traced without one. */
export function normIsAdapted(ctx: ModelContext, name: string): boolean {
  return ctx.adapters?.at('norms', name) ?? false;
}

/** The bare norm times the weights and plus the biases of the rows. @param y [..., width] */
export function adaptNorm(ctx: ModelContext, y: Value, name: string, bias: boolean): Value {
  const width = y.shape.at(-1)!;
  const scaled = mul(ctx.g, y, rowInput(ctx, `scale.${name}`, width, y));
  return bias ? add(ctx.g, scaled, rowInput(ctx, `shift.${name}`, width, y)) : scaled;
}

/**
 * The attention's result plus that on prefixes. @param q [B, H, T, D], rotated. @param y [B, T, H·D].
 * @param attributes G and those of the scores.
 */
export function adaptAttention(
  ctx: ModelContext,
  q: Value,
  y: Value,
  name: string,
  { groups, ...attributes }: ScoreAttributes & { readonly groups: number },
): Value {
  const trace = ctx.adapters;
  if (!trace?.at('prefixes', name)) return y;
  const { g } = ctx;
  const [B, H, , D] = q.shape;
  const b = trace.hooks.perRow ? B : 1;
  const keys = input(ctx, `prefix.k.${name}`, 'float32', [b, groups, 'n*P', D]);
  const values = input(ctx, `prefix.v.${name}`, 'float32', [b, groups, 'n*P', (y.shape[2] as number) / (H as number)]);
  const gate = input(ctx, `prefix.gate.${name}`, 'float32', [b, H, 'n']);
  trace.hidden ??= g.input('prefix.hidden', 'float32', [b, 'n', 'P']);
  return add(g, y, prefixAttend(g, q, { keys, values, gate, hidden: trace.hidden }, attributes));
}

/** What the lines of a value are; null where it is not known which row of the batch each of them belongs to. */
function linesOf({ shape }: Value): 'tokens' | 'flat' | 'logits' | null {
  if (shape[0] === 'N') return 'logits';
  if (shape[0] === 'B*T') return 'flat';
  return shape[0] === 'B' && shape.length === 3 ? 'tokens' : null;
}

/** An input with one line for each row of the batch (or one for all), as it is multiplied with or added to `y`. */
function rowInput(ctx: ModelContext, name: string, width: Dim, y: Value): Value {
  const { g, adapters } = ctx;
  const { hooks, ids, logitRows } = adapters!;
  if (!hooks.perRow) return input(ctx, name, 'float32', [1, 1, width]);
  const over = linesOf(y);
  if (!over) throw new GraphError(`${name}: the rows of the batch are not known in [${y.shape}]`);
  return rowVector(g, input(ctx, name, 'float32', ['B', 1, width]), ids, logitRows, over);
}

function input({ g, adapters }: ModelContext, name: string, dtype: Value['dtype'], shape: readonly Dim[]): Value {
  const found = adapters!.inputs.get(name) ?? g.input(name, dtype, shape);
  adapters!.inputs.set(name, found);
  return found;
}
