/**
 * @file Matrix-valued recurrences by ONNX Runtime's LinearAttention, which goes through the tokens one by one.
 *
 * Measured with ONNX Runtime 1.30 on two cores of an AMD EPYC, 256 tokens, ms a layer: 32 heads of 128 x 128, gated
 * delta rule 36; 64 heads of 128 x 64, decay only 30; the projections of such layers take some 300.
 */
import type { Value as OpValue } from '../../../ops/types.ts';
import { type GraphBuilder, MICROSOFT, type Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerContext, LowerTable } from './context.ts';

interface Recurrence {
  /** [B, T, key heads · K] */
  readonly q: Value;
  readonly k: Value;
  /** [B, T, heads · V] */
  readonly v: Value;
  /** Logarithm of the decay [B, T, heads] or [B, T, heads · K]. */
  readonly decay: Value;
  /** [B, T, heads]; null: no delta rule. */
  readonly beta: Value | null;
}

interface RecurrenceSpec {
  readonly keyHeads: number;
  readonly heads: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly scale: number;
}

/**
 * The results, and the states after as many tokens as `times` says. One state is that of the tokens before it: the
 * others are masked (decay 1, nothing added). Several states are as many copies of the rows, each with its own mask;
 * the last has all tokens.
 * @param state [B, heads, V, K]
 * @param hide makes the tokens for which the mask [rows, T, 1] is 0 leave the state unchanged.
 * @returns y [B, T, heads · V], states [B, S, heads, V · K]
 */
function recurrence(
  ctx: LowerContext,
  state: Value,
  inputs: Recurrence,
  times: Value,
  spec: RecurrenceSpec,
  hide: (inputs: Recurrence, mask: Value) => Recurrence,
): [y: Value, next: Value] {
  const { g } = ctx;
  const { heads: H, keySize: K, valueSize: V } = spec;
  const [B, T] = inputs.v.shape;
  const isOne = ctx.shared('oneStateTime', () =>
    onnx.less(g, onnx.reshape(g, onnx.shapeOf(g, times, 1, 2), [], []), onnx.index(g, 2)),
  );
  const mask = ctx.shared('stateMask', () => tokenMask(g, times, inputs.v)); // [B, S, T, 1]
  const start = transposed(g, state, K, V); // [B, H, K, V]
  const stacked = (next: Value): Value => {
    const back = transposed(g, next, V, K);
    return onnx.reshapeTo(g, back, [onnx.shapeOf(g, times, 0, 2), g.ints(H, V * K)], [B, 'S', H, V * K]);
  };
  const one = (): Value[] => {
    const rows = onnx.reshape(g, mask, [0, -1, 1], [B, T, 1]);
    const [y, next] = scan(g, start, hide(inputs, rows), spec);
    return [y, stacked(next)];
  };
  const several = (): Value[] => {
    const copies = (x: Value): Value => rowCopies(g, x, times);
    const rows = onnx.reshapeTo(g, mask, [g.ints(-1), onnx.shapeOf(g, mask, 2, 4)], ['B*S', T, 1]);
    const each = {
      q: copies(inputs.q),
      k: copies(inputs.k),
      v: copies(inputs.v),
      decay: copies(inputs.decay),
      beta: inputs.beta && copies(inputs.beta),
    };
    const [y, next] = scan(g, copies(start), hide(each, rows), spec);
    const all = onnx.reshapeTo(
      g,
      y,
      [onnx.shapeOf(g, times, 0, 2), onnx.shapeOf(g, inputs.v, 1, 3)],
      [B, 'S', T, H * V],
    );
    const last = { dtype: 'float32' as const, shape: [B, 1, T, H * V] };
    const [ofAll] = g.node('Slice', [all, g.ints(-1), g.ints(Number.MAX_SAFE_INTEGER), g.ints(1)], [last]);
    return [onnx.reshapeTo(g, ofAll, [onnx.shapeOf(g, inputs.v, 0, 3)], inputs.v.shape), stacked(next)];
  };
  const [y, next] = g.branch(isOne, one, several);
  return [y, next];
}

/** 1 for the first `times` tokens, else 0: [B, S, T, 1]. @param like [B, T, ...] */
function tokenMask(g: GraphBuilder, times: Value, like: Value): Value {
  const [B, S] = times.shape;
  const T = like.shape[1];
  const length = onnx.reshape(g, onnx.shapeOf(g, like, 1, 2), [], []);
  const [tokens] = g.node('Range', [onnx.index(g, 0), length, onnx.index(g, 1)], [{ dtype: 'int64', shape: [T] }]);
  const seen = onnx.less(g, tokens, onnx.reshape(g, times, [0, -1, 1], [B, S, 1])); // [B, S, T]
  return onnx.cast(g, onnx.reshapeTo(g, seen, [onnx.shapeOf(g, seen, 0, 3), g.ints(1)], [B, S, T, 1]), 'float32');
}

/** Each row of x [B, ...] as often as there are state times [B, S] → [B·S, ...]. */
function rowCopies(g: GraphBuilder, x: Value, times: Value): Value {
  const [B, ...rest] = x.shape;
  const lengths = onnx.shapeOf(g, x, 1, x.shape.length);
  const row = onnx.reshapeTo(g, x, [onnx.shapeOf(g, x, 0, 1), g.ints(1), lengths], [B, 1, ...rest]);
  const size = onnx.concat(g, [onnx.shapeOf(g, times, 0, 2), lengths], 0);
  const [copies] = g.node('Expand', [row, size], [{ dtype: x.dtype, shape: [B, 'S', ...rest] }]);
  return onnx.reshapeTo(g, copies, [g.ints(-1), lengths], ['B*S', ...rest]);
}

/** [·, H, a, b] → [·, H, b, a] */
function transposed(g: GraphBuilder, x: Value, rows: number, cols: number): Value {
  const [B, H] = x.shape;
  if (rows > 1 && cols > 1) return onnx.transpose(g, x, [0, 1, 3, 2]);
  return onnx.reshape(g, x, [0, 0, rows, cols], [B, H, rows, cols]);
}

function scan(g: GraphBuilder, state: Value, { q, k, v, decay, beta }: Recurrence, spec: RecurrenceSpec): Value[] {
  const attributes = {
    update_rule: beta ? 'gated_delta' : 'gated',
    q_num_heads: spec.keyHeads,
    kv_num_heads: spec.heads,
    scale: { float: spec.scale },
  };
  return g.node('LinearAttention', [q, k, v, state, decay, beta], [v, state], { attributes, domain: MICROSOFT });
}

/** [B, T, heads, size] → [B, T, heads · size] */
function flat(ctx: LowerContext, x: OpValue): Value {
  const [B, T, heads, size] = x.shape;
  const width = (heads as number) * (size as number);
  return onnx.reshape(ctx.g, ctx.value(x), [0, 0, width], [B, T, width]);
}

export const RECURRENCES: LowerTable = {
  gatedDelta: (ctx, { inputs: [state, q, k, v, decay, beta, times], outputs: [out] }) => {
    const { g } = ctx;
    const [keyHeads, keySize] = k!.shape.slice(2) as number[];
    const [heads, valueSize] = v!.shape.slice(2) as number[];
    const inputs = {
      q: flat(ctx, q!),
      k: flat(ctx, k!),
      v: flat(ctx, v!),
      decay: ctx.value(decay!),
      beta: ctx.value(beta!),
    };
    const spec = { keyHeads, heads, keySize, valueSize, scale: keySize ** -0.5 };
    const hide = (each: Recurrence, mask: Value) => ({
      ...each,
      decay: onnx.mul(g, each.decay, mask),
      beta: onnx.mul(g, each.beta!, mask),
    });
    const [y, next] = recurrence(ctx, ctx.value(state!), inputs, ctx.value(times!), spec, hide);
    return [onnx.reshape(g, y, [0, 0, heads, valueSize], out.shape), next];
  },
  selectiveScan: (ctx, { inputs: [state, x, dt, a, b, c, times], attributes: { low, high }, outputs: [out] }) => {
    const { g } = ctx;
    const [heads, valueSize] = x!.shape.slice(2) as number[];
    const [keyHeads, keySize] = b!.shape.slice(2) as number[];
    const [B, T] = x!.shape;
    const softplus = onnx.softplus(g, ctx.value(dt!));
    const isLimited = low > 0 || high < Number.POSITIVE_INFINITY;
    const step = isLimited ? onnx.clip(g, softplus, low, Math.min(high, 3.4e38)) : softplus;
    const perHead = (value: Value) => onnx.reshape(g, value, [0, 0, heads, 1], [B, T, heads, 1]);
    const byStep = a!.shape.length === 1;
    const product = onnx.mul(g, byStep ? step : perHead(step), ctx.value(a!));
    const width = heads * keySize;
    const inputs = {
      q: flat(ctx, c!),
      k: flat(ctx, b!),
      v: onnx.reshape(
        g,
        onnx.mul(g, ctx.value(x!), perHead(step)),
        [0, 0, heads * valueSize],
        [B, T, heads * valueSize],
      ),
      decay: byStep ? product : onnx.reshape(g, product, [0, 0, width], [B, T, width]),
      beta: null,
    };
    const spec = { keyHeads, heads, keySize, valueSize, scale: 1 };
    const hide = (each: Recurrence, mask: Value) => ({
      ...each,
      decay: onnx.mul(g, each.decay, mask),
      v: onnx.mul(g, each.v, mask),
    });
    const [y, next] = recurrence(ctx, ctx.value(state!), inputs, ctx.value(times!), spec, hide);
    return [onnx.reshape(g, y, [0, 0, heads, valueSize], out.shape), next];
  },
};
