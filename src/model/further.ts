/**
 * @file The parts of models that most families do without: see parts.ts.
 */
import { AltUp } from './alt-up.ts';
import type { FurtherParts } from './context.ts';
import { addLaurel } from './laurel.ts';
import { attentionMamba2 } from './mixers/attention-mamba2.ts';
import { gatedDelta } from './mixers/gated-delta.ts';
import { headExperts } from './mixers/head-experts.ts';
import { mamba } from './mixers/mamba.ts';
import { mamba2 } from './mixers/mamba2.ts';
import { latentAttention } from './mixers/mla.ts';
import { rgLru } from './mixers/rg-lru.ts';
import { sharedAttention } from './mixers/shared-attention.ts';
import { shortConv } from './mixers/short-conv.ts';
import { mixtureOfExperts } from './moe.ts';
import { endLayer, perLayerInputs } from './per-layer.ts';

export const FURTHER: FurtherParts = {
  mixers: {
    'shared-attention': (ctx, x, layer, spec, { shared }) => sharedAttention(ctx, x, layer, spec, shared!),
    'head-experts': (ctx, x, layer, spec, inputs) => headExperts(ctx, x, layer, spec, inputs.attention!),
    mla: (ctx, x, layer, spec, inputs) => latentAttention(ctx, x, layer, spec, inputs.attention!),
    'rg-lru': (ctx, x, layer, spec, inputs) => rgLru(ctx, x, layer, spec, inputs.states!),
    'gated-delta': (ctx, x, layer, spec, inputs) => gatedDelta(ctx, x, layer, spec, inputs.states!),
    'short-conv': (ctx, x, layer, spec, inputs) => shortConv(ctx, x, layer, spec, inputs.states!),
    'mamba-1': (ctx, x, layer, spec, inputs) => mamba(ctx, x, layer, spec, inputs.states!),
    'attention-mamba-2': (ctx, x, layer, spec, { attention, states }) =>
      attentionMamba2(ctx, x, layer, spec, { attention: attention!, states: states! }),
    'mamba-2': (ctx, x, layer, spec, inputs) => mamba2(ctx, x, layer, spec, inputs.states!),
  },
  mixtureOfExperts,
  altUp: (ctx, x, spec) => new AltUp(ctx, x, spec),
  perLayerInputs,
  endLayer,
  addLaurel,
};
