/**
 * @file Mixtures of experts: each token runs through the few experts that its router chose, and no others.
 */

import { MICROSOFT, type Value } from '../backends/onnx/builder.ts';
import { add, filledLike, mul, reshape, scatterRows, sigmoid } from '../backends/onnx/ops.ts';
import type { Config } from '../config/config.ts';
import { range } from '../util/numbers.ts';
import { FORMAT_BITS, scaleName } from '../weights/codec.ts';
import { blockBytes, QUANT_BLOCK } from '../weights/quantise.ts';
import type { ParamPart } from '../weights/types.ts';
import type { ModelContext } from './context.ts';
import { linear } from './linear.ts';
import { gatedMlp } from './mlp.ts';
import { chosenBy, fusedRouting, type Routing, route } from './router.ts';

/** The experts' sum, the shared MLP's part and the bias. @param x [B, T, E] */
export function mixtureOfExperts(ctx: ModelContext, x: Value, name: string): Value {
  const { g, config } = ctx;
  const moe = config.moe!;
  const { nEmbd: E } = config;
  const tokens = reshape(g, x, [-1, E], ['B*T', E]);
  const routing = route(ctx, tokens, name);
  let y = isFusable(config, ctx.format) ? fused(ctx, tokens, routing, name) : oneByOne(ctx, tokens, routing, name);
  if (moe.sharedSize > 0) {
    const shared = gatedMlp(ctx, tokens, `${name}.shared`, moe.sharedSize);
    const gate = () =>
      sigmoid(
        g,
        linear(ctx, tokens, `${name}.shared_gate`, [{ name: `${name}.shared_gate`, out: 1 }], false, 'float32'),
      );
    y = add(g, y, moe.sharedGate ? mul(g, shared, gate()) : shared);
  }
  if (moe.outputBias) y = add(g, y, ctx.plain(`${name}.bias`, [E]));
  const shape = x.shape;
  return g.node(
    'Reshape',
    [y, g.node('Shape', [x], [{ dtype: 'int64', shape: [3] }])[0]],
    [{ dtype: 'float32', shape }],
  )[0];
}

/** Whether ONNX Runtime's fused operators compute these experts: gated by SiLU, in whole blocks. */
function isFusable({ activation, nEmbd, moe }: Config, format: string): boolean {
  const whole = format === 'float32' || (nEmbd % QUANT_BLOCK === 0 && moe!.intermediateSize % QUANT_BLOCK === 0);
  return activation === 'silu' && whole;
}

/** All experts in one operator, their rows of gate and up by turns. @param x [N, E] */
function fused(ctx: ModelContext, x: Value, routing: Routing, name: string): Value {
  const { g, config, format } = ctx;
  const { nEmbd: E } = config;
  const { nExpert, nExpertPerToken, intermediateSize: F } = config.moe!;
  const weights = (module: string, rows: number, cols: number, parts: readonly ParamPart[]) => {
    const full = `${name}.experts.${module}.weight`;
    ctx.declare({ name: full, shape: [nExpert * rows, cols], role: 'linear', format, parts });
    if (format === 'float32') return [g.external(full, 'float32', [nExpert, rows, cols])];
    const bits = FORMAT_BITS[format];
    const blocks = cols / QUANT_BLOCK;
    return [
      g.external(full, 'uint8', [nExpert, rows, blocks * blockBytes(bits)]),
      g.external(scaleName(full), 'float32', [nExpert, rows, blocks]),
    ];
  };
  const part = (e: number, module: string, rows: number, cols: number): ParamPart => ({
    name: `${name}.experts.${e}.${module}.weight`,
    rows,
    cols,
  });
  const gateUp = range(nExpert).map((e) => ({
    ...part(e, 'fc_12', 2 * F, E),
    interleaved: [part(e, 'fc_1', F, E), part(e, 'fc_2', F, E)],
  }));
  const down = range(nExpert).map((e) => part(e, 'proj', E, F));
  const fc1 = weights('fc_12', 2 * F, E, gateUp);
  const fc2 = weights('proj', E, F, down);
  const { logits, scale } = fusedRouting(ctx, routing);
  const attributes = {
    k: nExpertPerToken,
    activation_type: 'swiglu',
    swiglu_fusion: 1,
    normalize_routing_weights: 1,
    activation_alpha: { float: 1 },
    activation_beta: { float: 0 },
  };
  const y =
    format === 'float32'
      ? g.node('MoE', [x, logits, fc1[0], null, fc2[0]], [x], { attributes, domain: MICROSOFT })[0]
      : g.node('QMoE', [x, logits, ...fc1, null, ...fc2], [x], {
          attributes: { ...attributes, expert_weight_bits: FORMAT_BITS[format], block_size: QUANT_BLOCK },
          domain: MICROSOFT,
        })[0];
  return scale ? mul(g, y, scale) : y;
}

/** Expert after expert takes the rows that chose it, which may be none. @param x [N, E] */
function oneByOne(ctx: ModelContext, x: Value, routing: Routing, name: string): Value {
  const { g, config } = ctx;
  const { nExpert, intermediateSize } = config.moe!;
  let y = filledLike(g, x, 0);
  for (const e of range(nExpert)) {
    const { tokens, weights } = chosenBy(ctx, routing, e);
    const rows = gatherTokens(ctx, x, tokens);
    const out = gatedMlp(ctx, rows, `${name}.experts.${e}`, intermediateSize);
    y = scatterRows(g, y, tokens, mul(g, out, weights), 'add');
  }
  return y;
}

/** Rows of x [N, ...] by `places` (int64 [M, n]: the first n axes) → [M, ...]. */
export function gatherTokens({ g }: ModelContext, x: Value, places: Value): Value {
  const shape = ['M', ...x.shape.slice(places.shape[1] as number)];
  return g.node('GatherND', [x, places], [{ dtype: x.dtype, shape }])[0];
}
