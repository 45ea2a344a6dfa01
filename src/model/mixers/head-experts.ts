/**
 * @file Mixture of attention heads (JetMoE, arXiv 2404.07413): a router chooses, token by token, the experts that make its
 * queries and project its results. Keys and values are the same for all experts.
 */
import type { Value } from '../../backends/onnx/builder.ts';
import {
  add,
  concat,
  filled,
  filledLike,
  mul,
  reshape,
  reshapeTo,
  scatterRows,
  shapeOf,
  transpose,
} from '../../backends/onnx/ops.ts';
import { range } from '../../util/numbers.ts';
import type { ModelContext } from '../context.ts';
import { linear } from '../linear.ts';
import { gatherTokens } from '../moe.ts';
import { chosenBy, route } from '../router.ts';
import { type AttentionInputs, type AttentionOutputs, attendHeads } from './self-attention.ts';

/**
 * H = k·G heads: each of a token's k experts makes one query for every group, so a group's R = k queries are of k experts.
 * @param x [B, T, E], normalised.
 */
export function headExperts(ctx: ModelContext, x: Value, layer: number, inputs: AttentionInputs): AttentionOutputs {
  const { g, config } = ctx;
  const { nQueryGroups: G, headSize: D, nEmbd: E } = config;
  const { nExpert, nExpertPerToken: k } = config.moe!;
  const name = `h.${layer}.attn`;
  const [B, T] = x.shape;
  const size = shapeOf(g, x, 0, 2);
  const tokens = reshape(g, x, [-1, E], ['B*T', E]);
  const routing = route(ctx, tokens, name);
  const chosen = range(nExpert).map((e) => chosenBy(ctx, routing, e));

  let queries = filled(g, [shapeOf(g, tokens, 0, 1), g.ints(k, G * D)], ['B*T', k, G * D], 0);
  for (const [e, { places, tokens: rows }] of chosen.entries()) {
    const q = linear(ctx, gatherTokens(ctx, tokens, rows), `${name}.experts.${e}.q`, [
      { name: `${name}.experts.${e}.q`, out: G * D },
    ]);
    queries = scatterRows(g, queries, places, q, 'none');
  }
  const byExpert = reshapeTo(g, queries, [size, g.ints(k, G, D)], [B, T, k, G, D]);
  const byGroup = reshape(g, transpose(g, byExpert, [0, 3, 2, 1, 4]), [0, G * k, -1, D], [B, G * k, T, D]);
  const parts = ['k', 'v'].map((part) => ({ name: `${name}.${part}`, out: G * D }));
  const kv = reshape(g, linear(ctx, x, `${name}.kv`, parts), [0, 0, 2 * G, D], [B, T, 2 * G, D]);
  const out = attendHeads(ctx, concat(g, [byGroup, transpose(g, kv, [0, 2, 1, 3])], 1), name, inputs);

  const mixed = reshape(g, out.y, [0, 0, G, k, D], [B, T, G, k, D]);
  const rows = reshape(g, transpose(g, mixed, [0, 1, 3, 2, 4]), [-1, k, G * D], ['B*T', k, G * D]);
  let y = filledLike(g, tokens, 0);
  for (const [e, { places, tokens: at, weights }] of chosen.entries()) {
    const part = linear(ctx, gatherTokens(ctx, rows, places), `${name}.experts.${e}.proj`, [
      { name: `${name}.experts.${e}.proj`, out: E },
    ]);
    y = scatterRows(g, y, at, mul(g, part, weights), 'add');
  }
  if (config.attnBias.proj[layer]) y = add(g, y, ctx.plain(`${name}.proj.bias`, [E]));
  return { ...out, y: reshapeTo(g, y, [size, g.ints(E)], x.shape) };
}
