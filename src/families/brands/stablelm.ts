/**
 * @file Stability AI's stablelm. Reference: transformers models/stablelm.
 */
import { type Family, llamaTensors } from '../family.ts';
import { attnBias, PARALLEL_SHARED, qkNorm, readBase } from '../read-base.ts';

export const stablelm: Family = {
  modelTypes: ['stablelm'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['layer_norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      rope: { fraction: 0.25 },
    });
    return {
      ...base,
      ...attnBias(base, r.bool('use_qkv_bias', false), false),
      ...(r.bool('qk_layernorm', false) ? qkNorm(base, 'each-head', { bias: false }) : {}),
      ...(r.bool('use_parallel_residual', false) ? PARALLEL_SHARED : {}),
    };
  },
  tensors: llamaTensors({
    'h.{l}.attn.norm_q.{e}': 'model.layers.{l}.self_attn.q_layernorm.norms.{e}',
    'h.{l}.attn.norm_k.{e}': 'model.layers.{l}.self_attn.k_layernorm.norms.{e}',
  }),
};
