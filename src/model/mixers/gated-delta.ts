/**
 * @file Gated delta net (arXiv 2412.06464), as Qwen3-Next and Qwen3.5 have it: a short convolution of queries, keys and
 * values, the gated delta rule, and a gate on its normalized result.
 *
 * Parameters: `h.L.delta.qkv`, `.z`, `.beta`, `.decay`, `.out`; `.conv.weight` [K, W]; `.a_log`, `.dt_bias` [heads];
 * `.norm.weight`.
 */
import type { GatedDelta } from '../../config/layer-spec.ts';
import { add, mul, reshape, scale, split, unary } from '../../ops/basic.ts';
import { norm as normalize } from '../../ops/layers.ts';
import { gatedDelta as deltaRule } from '../../ops/states.ts';
import type { Value } from '../../ops/types.ts';
import { type ModelContext, plainParam } from '../context.ts';
import { linear, linearOf } from '../linear.ts';
import { norm } from '../norm.ts';
import { gatedDeltaStates } from './state-shapes.ts';
import { convolution, decayRate, type StateOutputs, stateInput } from './states.ts';
import type { StateInputs } from './types.ts';

/** Added to the squared length of queries and keys. */
const LENGTH_EPS = 1e-6;

/** @param x [B, T, E], normalized. */
export function gatedDelta(
  ctx: ModelContext,
  x: Value,
  layer: number,
  spec: GatedDelta,
  { times }: StateInputs,
): StateOutputs {
  const { g } = ctx;
  const { keyHeads: Hk, valueHeads: H, keySize: K, valueSize: V } = spec;
  const name = `h.${layer}.delta`;
  const [conv, matrix] = gatedDeltaStates(spec, layer);
  const [B, T] = x.shape;
  const [keys, values] = [Hk * K, H * V];
  const parts = [
    { name: `${name}.qkv`, out: 2 * keys + values },
    { name: `${name}.z`, out: values },
  ];
  const [qkv, z] = split(g, linear(ctx, x, `${name}.qkvz`, parts), -1, [2 * keys + values, values]);
  // What makes the decay goes through two exponentials: it is not quantized.
  const gates = ['beta', 'decay'].map((part) => ({ name: `${name}.${part}`, out: H }));
  const packed = linear(ctx, x, `${name}.beta_decay`, gates, { format: 'float32' });
  const [beta, decay] = split(g, packed, -1, [H, H]);

  const [convolved, nextConv] = convolution(ctx, qkv, `${name}.conv`, { state: conv, times, bias: false });
  const [q, k, v] = split(g, unary(g, 'silu', convolved), -1, [keys, keys, values]);
  const byHead = (part: Value, heads: number, size: number) =>
    reshape(g, part, [0, 0, heads, size], [B, T, heads, size]);
  // x / √(Σ x² + ε): an RMS norm, but for a factor.
  const unitLength = (part: Value) =>
    scale(g, normalize(g, byHead(part, Hk, K), null, null, { kind: 'rms', eps: LENGTH_EPS / K }), K ** -0.5);
  const step = unary(g, 'softplus', add(g, decay, plainParam(ctx, `${name}.dt_bias`, [H])));
  const [y, nextMatrix] = deltaRule(g, {
    state: stateInput(g, matrix),
    q: unitLength(q),
    k: unitLength(k),
    v: byHead(v, H, V),
    logDecay: mul(g, step, decayRate(ctx, `${name}.a_log`, [H])),
    beta: unary(g, 'sigmoid', beta),
    times,
  });
  const gated = mul(g, norm(ctx, y, spec.norm, `${name}.norm`), unary(g, 'silu', byHead(z, H, V)));
  const flat = reshape(g, gated, [0, 0, values], [B, T, values]);
  return {
    y: linearOf(ctx, flat, `${name}.out`, ctx.config.nEmbd),
    next: { [conv.name]: nextConv, [matrix.name]: nextMatrix },
  };
}
