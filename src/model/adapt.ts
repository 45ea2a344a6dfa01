/**
 * @file Where live adapters come into the graph: behind a matrix, behind the embedding, behind a norm, beside an attention. What
 * they hold are inputs, so that one graph serves all adapters that change the same places, each row of a batch its own.
 *
 * Inputs, for a place NAME (a packed linear layer such as `h.0.attn.qkv`, `lm_head`, `wte`, a norm): `lora.a.NAME` [r, in] and
 * `lora.b.NAME` [r, out], where r runs over the ranks of all adapters of the batch; where these are parted into blocks of columns,
 * each with ranks of its own, `lora.b.NAME.I` [rI, outI], and `lora.ranks.NAME` int64 [blocks]: how many of r are each block's;
 * `scale.NAME` and `shift.NAME` [b, 1, out]; where rows differ, `lora.mask.NAME` [B, 1, r]: how much each rank counts for each row,
 * and b is B, else 1. For an attention NAME, such as `h.0.attn`:
 * `prefix.k.NAME` and `prefix.v.NAME` [b, G, 1, n·P, D], `prefix.gate.NAME` [b, G, R, 1, n, 1], and once for all of them `prefix.hidden`
 * [b, 1, 1, 1, n, P]: n prefixes of up to P places each.
 */

import type { Dim, Value } from '../backends/onnx/builder.ts';
import {
  add,
  concat,
  div,
  gather,
  matmul,
  matmulTransposed,
  mul,
  reshape,
  shapeOf,
  softmax,
  split,
  tanh,
} from '../backends/onnx/ops.ts';
import { GraphError } from '../util/errors.ts';
import type { ModelContext } from './context.ts';

/** Which places of the graph are open to adapters. */
export interface AdapterHooks {
  /** Rows of the batch use different adapters, or count them differently. */
  readonly perRow: boolean;
  /** Places with a low-rank part, and the widths of the blocks of columns that it is parted into. */
  readonly lowRank: ReadonlyMap<string, readonly number[]>;
  /** Places with a factor, with something added. */
  readonly scale: ReadonlySet<string>;
  readonly shift: ReadonlySet<string>;
  /** Norms whose weight and bias come from outside. */
  readonly norms: ReadonlySet<string>;
  /** Attentions whose queries also attend to prefixes. */
  readonly prefixes: ReadonlySet<string>;
}

/** What is the same for all hooks of one graph. */
export class AdapterTrace {
  readonly hooks: AdapterHooks;
  /** Hooks that the graph has passed, as `KIND NAME`. */
  readonly passed = new Set<string>();
  /** int64 [B, T] */
  readonly ids: Value;
  /** int64 [N], among the B·T tokens. */
  readonly logitRows: Value;
  /** [b, 1, 1, 1, n, P] */
  hidden: Value | null = null;

  constructor(hooks: AdapterHooks, ids: Value, logitRows: Value) {
    this.hooks = hooks;
    this.ids = ids;
    this.logitRows = logitRows;
  }

  /** Whether the place is open, which also says that it was passed. */
  at(kind: 'lowRank' | 'scale' | 'shift' | 'norms' | 'prefixes', name: string): boolean {
    const open = this.hooks[kind].has(name);
    if (open) this.passed.add(`${kind} ${name}`);
    return open;
  }
}

/** Hooks that no part of the graph has passed: the model has no such place, or it can't be changed from outside. */
export function unpassedHooks({ hooks, passed }: AdapterTrace): string[] {
  const kinds = ['lowRank', 'scale', 'shift', 'norms', 'prefixes'] as const;
  const left = kinds.flatMap((kind) => [...hooks[kind].keys()].filter((name) => !passed.has(`${kind} ${name}`)));
  return [...new Set(left)];
}

/** y of a linear layer, adapted. @param x [..., in], what the layer read. @param y [..., out] */
export function adaptLinear(ctx: ModelContext, x: Value, y: Value, name: string): Value {
  if (!ctx.adapters) return y;
  const ranks = () =>
    matmulTransposed(ctx.g, x, ctx.g.input(`lora.a.${name}`, 'float32', [`r.${name}`, x.shape.at(-1)!]));
  return changed(ctx, y, name, ranks, 'b');
}

/** Rows of the embedding table, adapted; a low-rank part's `lora.b.wte` is [V, r] there. @param y [B, T, width] */
export function adaptEmbedding(ctx: ModelContext, ids: Value, y: Value, name: string, rows: number): Value {
  if (!ctx.adapters) return y;
  const ranks = () => gather(ctx.g, ctx.g.input(`lora.b.${name}`, 'float32', [rows, `r.${name}`]), ids);
  return changed(ctx, y, name, ranks, 'a');
}

/** scale · y + ranks · matrix + shift, as far as the place is open. */
function changed(ctx: ModelContext, y: Value, name: string, ranks: () => Value, matrix: 'a' | 'b'): Value {
  const { g } = ctx;
  const trace = ctx.adapters!;
  if (trace.hooks.perRow && !areApart(y)) return y; // so that the place counts as not passed
  const out = y.shape.at(-1)!;
  let sum = trace.at('scale', name) ? mul(g, y, rowInput(ctx, `scale.${name}`, out, y)) : y;
  if (trace.at('lowRank', name)) {
    const each = ranks();
    const counted = trace.hooks.perRow ? mul(g, each, rowInput(ctx, `lora.mask.${name}`, `r.${name}`, y)) : each;
    sum = add(g, sum, product(ctx, counted, name, matrix));
  }
  return trace.at('shift', name) ? add(g, sum, rowInput(ctx, `shift.${name}`, out, y)) : sum;
}

/** ranks · matrix, block by block: a block's columns have no numbers for the ranks of others. @param ranks [..., r] */
function product(ctx: ModelContext, ranks: Value, name: string, matrix: 'a' | 'b'): Value {
  const { g } = ctx;
  const widths = ctx.adapters!.hooks.lowRank.get(name)!;
  const input = (at: string, width: number) =>
    g.input(`lora.${matrix}.${name}${at}`, 'float32', [`r.${name}${at}`, width]);
  if (widths.length === 1) return matmul(g, ranks, input('', widths[0]));
  const lengths = g.input(`lora.ranks.${name}`, 'int64', [widths.length]);
  const parts = split(
    g,
    ranks,
    -1,
    widths.map((_, i) => `r.${name}.${i}`),
    lengths,
  );
  return concat(
    g,
    parts.map((part, i) => matmul(g, part, input(`.${i}`, widths[i]))),
    -1,
  );
}

/** Whether the norm's weight comes from outside; the norm itself is then to be made without one. */
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
 * The attention's result plus that to the prefixes (LLaMA-Adapter, arXiv 2303.16199): a softmax of its own for each prefix,
 * times the head's gate.
 * @param q [B, G, R, T, D], rotated and scaled. @param y [B, G, R, T, D]
 */
export function adaptAttention(ctx: ModelContext, q: Value, y: Value, name: string): Value {
  const trace = ctx.adapters;
  if (!trace?.at('prefixes', name)) return y;
  const { g, config } = ctx;
  const [B, G, R, T, D] = q.shape;
  const b = trace.hooks.perRow ? B : 1;
  const all = 'n*P';
  const keys = g.input(`prefix.k.${name}`, 'float32', [b, G, 1, all, D]);
  const values = g.input(`prefix.v.${name}`, 'float32', [b, G, 1, all, D]);
  const gates = g.input(`prefix.gate.${name}`, 'float32', [b, G, R, 1, 'n', 1]);
  trace.hidden ??= g.input('prefix.hidden', 'float32', [b, 1, 1, 1, 'n', 'P']);
  const cap = config.attentionLogitSoftcapping;
  const bare = matmulTransposed(g, q, keys); // [B, G, R, T, n·P]
  const scores = cap === null ? bare : mul(g, tanh(g, div(g, bare, g.scalar(cap))), g.scalar(cap));
  const lengths = concat(g, [g.ints(0, 0, 0, 0), shapeOf(g, trace.hidden, 4, 6)], 0);
  const each = reshapeAs(ctx, scores, lengths, [B, G, R, T, 'n', 'P']);
  const weights = mul(g, softmax(g, add(g, each, trace.hidden)), gates);
  const flat = reshape(g, weights, [0, 0, 0, 0, -1], [B, G, R, T, all]);
  return add(g, y, matmul(g, flat, values));
}

/** Whether it is known which row of the batch each line is of. */
function areApart({ shape }: Value): boolean {
  return shape[0] === 'N' || shape[0] === 'B*T' || (shape[0] === 'B' && shape.length === 3);
}

/**
 * An input with one line for each row of the batch (or one for all), as it is to be multiplied with or added to `y`, whose
 * lines may be tokens of the batch or those that want logits.
 */
function rowInput(ctx: ModelContext, name: string, width: Dim, y: Value): Value {
  const { g } = ctx;
  const { hooks, ids, logitRows } = ctx.adapters!;
  if (!hooks.perRow) return g.input(name, 'float32', [1, 1, width]);
  const lines = g.input(name, 'float32', ['B', 1, width]);
  const [first] = y.shape;
  if (y.shape.length === 3 && first === 'B') return lines;
  const length = shapeOf(g, ids, 1, 2);
  const widths = shapeOf(g, lines, 2, 3);
  if (first === 'N') {
    const flat = reshapeAs(ctx, lines, concat(g, [g.ints(-1), widths], 0), ['B', width]);
    return gather(g, flat, div(g, logitRows, length));
  }
  if (first !== 'B*T') throw new GraphError(`${name}: the batch's rows can't be told apart in [${y.shape}]`);
  const each = g.node(
    'Expand',
    [lines, concat(g, [g.ints(1), length, g.ints(1)], 0)],
    [{ dtype: 'float32', shape: ['B', 'T', width] }],
  )[0];
  return reshapeAs(ctx, each, concat(g, [g.ints(-1), widths], 0), ['B*T', width]);
}

/** x under a shape that is known when the graph runs. */
function reshapeAs({ g }: ModelContext, x: Value, lengths: Value, shape: readonly Dim[]): Value {
  return g.node('Reshape', [x, lengths], [{ dtype: x.dtype, shape }])[0];
}
