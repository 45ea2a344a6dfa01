/**
 * @file Mixture of attention heads (JetMoE, arXiv 2404.07413): a router chooses, token by token, the experts that make
 * its queries and project its results. Keys and values are the same for all experts.
 */
import type { HeadExperts } from '../../config/layer-spec.ts';
import { add, concat, mul, reduceSum, reshape, split, tokensLike, transpose } from '../../ops/basic.ts';
import { expertLinear } from '../../ops/experts.ts';
import type { Value } from '../../ops/types.ts';
import { range } from '../../util/numbers.ts';
import { type ModelContext, matrixParam, plainParam } from '../context.ts';
import { linear } from '../linear.ts';
import { routeTokens } from '../moe.ts';
import { attendHeads, byHead } from './self-attention.ts';
import type { AttentionInputs, AttentionOutputs } from './types.ts';

/**
 * H = k·G heads: each of a token's k experts makes one query for every group, so a group's R = k queries are of k
 * experts.
 * @param x [B, T, E], normalized.
 */
export function headExperts(
  ctx: ModelContext,
  x: Value,
  layer: number,
  spec: HeadExperts,
  inputs: AttentionInputs,
): AttentionOutputs {
  const { g, config } = ctx;
  const { groups: G, keySize: D, valueSize: Dv, experts: count, router } = spec;
  const { nEmbd: E } = config;
  const k = router.perToken;
  const name = `h.${layer}.attn`;
  const tokens = reshape(g, x, [-1, E], ['B*T', E]);
  const routing = routeTokens(ctx, tokens, count, router, name);
  const matrices = (module: string, rows: number, cols: number): Value[] => {
    const parts = range(count).map((e) => ({ name: `${name}.experts.${e}.${module}.weight`, rows, cols }));
    if (g.target.stacksHeadExperts) return [matrixParam(ctx, `${name}.experts.${module}.weight`, 'linear', parts)];
    return parts.map((part) => matrixParam(ctx, part.name, 'linear', [part]));
  };

  const each = reshape(g, tokens, [0, 1, E], ['B*T', 1, E]);
  const queries = expertLinear(g, each, routing.chosen, matrices('q', G * D, E), count); // [B·T, k, G·D]
  const parts = [
    { name: `${name}.k`, out: G * D },
    { name: `${name}.v`, out: G * Dv },
  ];
  const [keys, values] = split(g, linear(ctx, x, `${name}.kv`, parts), -1, [G * D, G * Dv]);
  const q = byGroup(ctx, queries, x, spec);
  const heads = { qk: concat(g, [q, byHead(g, keys, G, D)], 1), v: byHead(g, values, G, Dv) };
  const out = attendHeads(ctx, heads, layer, spec, inputs);

  const mixed = reshape(g, out.y, [-1, G, k, Dv], ['B*T', G, k, Dv]);
  const rows = reshape(g, transpose(g, mixed, [0, 2, 1, 3]), [0, k, G * Dv], ['B*T', k, G * Dv]);
  const projected = expertLinear(g, rows, routing.chosen, matrices('proj', E, G * Dv), count); // [B·T, k, E]
  const weights = reshape(g, routing.weights, [0, k, 1], ['B*T', k, 1]);
  let y = reshape(g, reduceSum(g, mul(g, projected, weights), 1), [0, E], ['B*T', E]);
  if (spec.bias.proj) y = add(g, y, plainParam(ctx, `${name}.proj.bias`, [E]));
  return { ...out, y: tokensLike(g, y, x) };
}

/** [B·T, k, G·D] → [B, G·k, T, D]: the queries of a group are of different experts. */
function byGroup({ g }: ModelContext, queries: Value, x: Value, { groups: G, keySize: D, router }: HeadExperts): Value {
  const k = router.perToken;
  const apart = reshape(g, queries, [-1, k, G, D], ['B*T', k, G, D]);
  const grouped = reshape(g, transpose(g, apart, [0, 2, 1, 3]), [0, G * k * D], ['B*T', G * k * D]);
  return byHead(g, tokensLike(g, grouped, x), G * k, D);
}
