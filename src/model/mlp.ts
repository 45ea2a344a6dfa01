/**
 * @file Feed-forward layers.
 */

import type { GraphBuilder, Value } from '../backends/onnx/builder.ts';
import { gelu, geluTanh, mul, quickGelu, relu, silu, split, tanh } from '../backends/onnx/ops.ts';
import type { Activation } from '../config/config.ts';
import type { ModelContext } from './context.ts';
import { linear } from './linear.ts';

const ACTIVATION_OPS: Readonly<Record<Activation, (g: GraphBuilder, x: Value) => Value>> = {
  silu,
  gelu,
  'gelu-tanh': geluTanh,
  'quick-gelu': quickGelu,
  relu,
  relu2: (g, x) => {
    const y = relu(g, x);
    return mul(g, y, y);
  },
  tanh,
};

export function activate(ctx: ModelContext, x: Value): Value {
  return ACTIVATION_OPS[ctx.config.activation](ctx.g, x);
}

/** proj(act(fc(x))). @param x [B, T, E] */
export function plainMlp(ctx: ModelContext, x: Value, name: string): Value {
  const { nEmbd, intermediateSize, mlpBias } = ctx.config;
  const hidden = linear(ctx, x, `${name}.fc`, [{ name: `${name}.fc`, out: intermediateSize }], mlpBias);
  return linear(ctx, activate(ctx, hidden), `${name}.proj`, [{ name: `${name}.proj`, out: nEmbd }], mlpBias);
}

/**
 * proj(act(fc_1(x)) · fc_2(x)), with fc_1 and fc_2 as one packed matrix.
 * @param x [..., E]
 * @param size F
 */
export function gatedMlp(ctx: ModelContext, x: Value, name: string, size: number): Value {
  const { nEmbd, mlpBias } = ctx.config;
  const parts = ['fc_1', 'fc_2'].map((part) => ({ name: `${name}.${part}`, out: size }));
  const both = linear(ctx, x, `${name}.fc_12`, parts, mlpBias);
  const [gate, up] = split(ctx.g, both, -1, [size, size]);
  const hidden = mul(ctx.g, activate(ctx, gate), up);
  return linear(ctx, hidden, `${name}.proj`, [{ name: `${name}.proj`, out: nEmbd }], mlpBias);
}
