/**
 * @file Mixtures of experts: each token goes through the few experts that its router chose.
 */
import type { MoeMlp, RouterSpec, SharedMlp } from '../config/mlp-spec.ts';
import { add, gatherRows, mul, reshape, scale, tokensLike, unary, zerosLike } from '../ops/basic.ts';
import { addRows, experts, type Routing, route, tokensOf } from '../ops/experts.ts';
import type { Value } from '../ops/types.ts';
import { range } from '../util/numbers.ts';
import type { ParamPart } from '../weights/types.ts';
import { type ModelContext, matrixParam, plainParam } from './context.ts';
import { linearOf } from './linear.ts';
import { clampedMlp, denseMlp } from './mlp.ts';
import { norm } from './norm.ts';

/**
 * The experts' sum, the shared MLP and the bias.
 * @param x [B, T, E], normalized.
 * @param stream [B, T, E], as it is before the norm.
 */
export function mixtureOfExperts(ctx: ModelContext, x: Value, stream: () => Value, spec: MoeMlp, name: string): Value {
  const { g, config } = ctx;
  const { nEmbd: E } = config;
  const flat = (value: Value) => reshape(g, value, [-1, E], ['B*T', E]);
  const own = spec.shared?.norms;
  const tokens = flat(x);
  const source = own ? flat(stream()) : tokens;
  const routing = routeTokens(ctx, source, spec.experts.count, spec.router, name);
  const read = own ? norm(ctx, source, own, `${name}.experts_norm_1`) : tokens;
  const { latent } = spec.experts;
  const narrow = latent === null ? read : linearOf(ctx, read, `${name}.latent_in`, latent);
  let y = chosenExperts(ctx, narrow, routing, spec, name);
  if (latent !== null) y = linearOf(ctx, y, `${name}.latent_out`, E);
  if (own) y = norm(ctx, y, own, `${name}.experts_norm_2`);
  if (spec.shared) y = add(g, y, sharedMlp(ctx, tokens, spec.experts, spec.shared, name));
  if (spec.outputBias) y = add(g, y, plainParam(ctx, `${name}.bias`, [E]));
  return tokensLike(g, y, x);
}

/** @param x [N, E] */
function sharedMlp(
  ctx: ModelContext,
  x: Value,
  { bias, activation, gated }: MoeMlp['experts'],
  { size, gate, norms }: SharedMlp,
  name: string,
): Value {
  const { g } = ctx;
  const y = denseMlp(ctx, x, { kind: gated ? 'gated' : 'plain', size, bias, activation }, `${name}.shared`);
  const open = () => unary(g, 'sigmoid', linearOf(ctx, x, `${name}.shared_gate`, 1, { format: 'float32' }));
  const out = gate ? mul(g, y, open()) : y;
  return norms ? norm(ctx, out, norms, `${name}.shared_norm`) : out;
}

/** @param x [N, E] */
export function routeTokens(ctx: ModelContext, x: Value, count: number, router: RouterSpec, name: string): Routing {
  const { g, config } = ctx;
  const { inputNorm, expertScale, perToken } = router;
  const read = inputNorm ? norm(ctx, x, inputNorm, `${name}.gate_norm`) : x;
  // A router is small, and a wrong choice costs more than its rounding saves: never quantized.
  const made = linearOf(ctx, read, `${name}.gate`, count, { bias: router.bias, format: 'float32' });
  const logits = scale(g, made, inputNorm ? config.nEmbd ** -0.5 : 1);
  const choiceBias = router.choiceBias ? plainParam(ctx, `${name}.choice_bias`, [count]) : null;
  const routing = route(g, logits, choiceBias, router);
  if (!expertScale) return routing;
  const factors = gatherRows(g, plainParam(ctx, `${name}.expert_scale`, [count, 1]), routing.chosen); // [N, k, 1]
  const flat = reshape(g, factors, [-1, perToken], [x.shape[0], perToken]);
  return { ...routing, weights: mul(g, routing.weights, flat) };
}

/** @param x [N, E], or [N, latent] */
function chosenExperts(ctx: ModelContext, x: Value, routing: Routing, spec: MoeMlp, name: string): Value {
  const { g, format } = ctx;
  const { count, size: F, bias, gated } = spec.experts;
  const E = x.shape[1] as number;
  const layout = g.target.expertLayout(spec.experts, E, format);
  if (layout === 'apart') return oneByOne(ctx, x, routing, spec, name);
  const modules: { name: string; rows: number; cols: number; halves?: readonly string[] }[] =
    layout === 'interleaved'
      ? [{ name: 'fc_12', rows: 2 * F, cols: E, halves: ['fc_1', 'fc_2'] }]
      : (gated ? ['fc_1', 'fc_2'] : ['fc']).map((module) => ({ name: module, rows: F, cols: E }));
  modules.push({ name: 'proj', rows: E, cols: F });
  const parts = (kind: 'weight' | 'bias', { name: module, rows, cols, halves }: (typeof modules)[number]) =>
    range(count).map((e): ParamPart => {
      const part = (of: string, height: number) => ({
        name: `${name}.experts.${e}.${of}.${kind}`,
        rows: height,
        cols: kind === 'weight' ? cols : 1,
      });
      return halves
        ? { ...part(module, rows), interleaved: halves.map((half) => part(half, rows / 2)) }
        : part(module, rows);
    });
  const matrices = modules.map((module) =>
    matrixParam(ctx, `${name}.experts.${module.name}.weight`, 'linear', parts('weight', module)),
  );
  const biases = (bias ? modules : []).map((module) =>
    plainParam(ctx, `${name}.experts.${module.name}.bias`, [count * module.rows], parts('bias', module)),
  );
  return experts(g, x, routing, [...matrices, ...biases], { layout, spec: spec.experts, router: spec.router });
}

/** Expert after expert takes the rows that chose it, which may be none. @param x [N, E] */
function oneByOne(ctx: ModelContext, x: Value, routing: Routing, { experts: spec }: MoeMlp, name: string): Value {
  const { g } = ctx;
  let y = zerosLike(g, x);
  for (const e of range(spec.count)) {
    const { tokens, rows, weights } = tokensOf(g, x, routing, e);
    const expert = (input: Value) => expertMlp(ctx, input, spec, `${name}.experts.${e}`);
    const out = spec.scaledInput ? expert(mul(g, rows, weights)) : mul(g, expert(rows), weights);
    y = addRows(g, y, tokens, out);
  }
  return y;
}

function expertMlp(ctx: ModelContext, x: Value, spec: MoeMlp['experts'], name: string): Value {
  const { gated, clamp, size, bias, activation } = spec;
  if (clamp !== null) return clampedMlp(ctx, x, { size, bias, limit: clamp }, name);
  return denseMlp(ctx, x, { kind: gated ? 'gated' : 'plain', size, bias, activation }, name);
}
