/**
 * @file Mixtures of experts: each token goes through the few experts that its router chose.
 */
import type { MoeMlp, RouterSpec } from '../config/layer-spec.ts';
import { add, mul, reshape, tokensLike, unary, zerosLike } from '../ops/basic.ts';
import { addRows, experts, type Routing, route, tokensOf } from '../ops/experts.ts';
import type { Value } from '../ops/types.ts';
import { GraphError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import type { ParamPart } from '../weights/types.ts';
import { type ModelContext, matrixParam, plainParam } from './context.ts';
import { gatedMlp } from './gated-mlp.ts';
import { linearOf } from './linear.ts';

/** The experts' sum, the shared MLP and the bias. @param x [B, T, E] */
export function mixtureOfExperts(ctx: ModelContext, x: Value, spec: MoeMlp, name: string): Value {
  const { g, config } = ctx;
  const { nEmbd: E } = config;
  const tokens = reshape(g, x, [-1, E], ['B*T', E]);
  let y = chosenExperts(ctx, tokens, routeTokens(ctx, tokens, spec.experts.count, spec.router, name), spec, name);
  if (spec.shared) {
    const { size, gate } = spec.shared;
    const { bias, activation } = spec.experts;
    const shared = gatedMlp(ctx, tokens, { size, bias, activation }, `${name}.shared`);
    const open = () => unary(g, 'sigmoid', linearOf(ctx, tokens, `${name}.shared_gate`, 1, { format: 'float32' }));
    y = add(g, y, gate ? mul(g, shared, open()) : shared);
  }
  if (spec.outputBias) y = add(g, y, plainParam(ctx, `${name}.bias`, [E]));
  return tokensLike(g, y, x);
}

/** @param x [N, E] */
export function routeTokens(ctx: ModelContext, x: Value, count: number, router: RouterSpec, name: string): Routing {
  // A router is small, and a wrong choice costs more than its rounding saves: never quantized.
  return route(ctx.g, linearOf(ctx, x, `${name}.gate`, count, { format: 'float32' }), router);
}

function chosenExperts(ctx: ModelContext, x: Value, routing: Routing, spec: MoeMlp, name: string): Value {
  const { g, config, format } = ctx;
  const { count, size: F, activation, gated, clamp, scaledInput, bias } = spec.experts;
  if (
    !gated ||
    clamp !== null ||
    scaledInput ||
    (bias && g.target.expertLayout(spec.experts, config.nEmbd, format) !== 'apart')
  )
    throw new GraphError(`${name}: experts of this kind can't be computed`);
  const { nEmbd: E } = config;
  const layout = g.target.expertLayout(spec.experts, E, format);
  if (layout === 'apart') return oneByOne(ctx, x, routing, spec, name);
  const part = (e: number, module: string, rows: number, cols: number): ParamPart => ({
    name: `${name}.experts.${e}.${module}.weight`,
    rows,
    cols,
  });
  const stack = (module: string, parts: (e: number) => ParamPart): Value =>
    matrixParam(ctx, `${name}.experts.${module}.weight`, 'linear', range(count).map(parts));
  const gateAndUp =
    layout === 'separate'
      ? ['fc_1', 'fc_2'].map((module) => stack(module, (e) => part(e, module, F, E)))
      : [
          stack('fc_12', (e) => ({
            ...part(e, 'fc_12', 2 * F, E),
            interleaved: [part(e, 'fc_1', F, E), part(e, 'fc_2', F, E)],
          })),
        ];
  const matrices = [...gateAndUp, stack('proj', (e) => part(e, 'proj', E, F))];
  return experts(g, x, routing, matrices, { layout, count, activation, router: spec.router });
}

/** Expert after expert takes the rows that chose it, which may be none. @param x [N, E] */
function oneByOne(ctx: ModelContext, x: Value, routing: Routing, { experts: spec }: MoeMlp, name: string): Value {
  const { g } = ctx;
  let y = zerosLike(g, x);
  for (const e of range(spec.count)) {
    const { tokens, rows, weights } = tokensOf(g, x, routing, e);
    y = addRows(g, y, tokens, mul(g, gatedMlp(ctx, rows, spec, `${name}.experts.${e}`), weights));
  }
  return y;
}
