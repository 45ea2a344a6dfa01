/**
 * @file GPT-NeoX (Pythia): layer norms with bias, parallel residual with two norms, partial rotation, fused queries, keys and values.
 */
import { type Family, fusedQkv, type TensorMap } from './family.ts';
import { attnBias, readBase } from './read-base.ts';

/** Module names of GPT-NeoX under another prefix. */
function neoxTensors(prefix: string, own: TensorMap = {}): TensorMap {
  const layer = `${prefix}.layers.{l}`;
  return {
    wte: `${prefix}.embed_in`,
    'h.{l}.norm_1': `${layer}.input_layernorm`,
    'h.{l}.norm_2': `${layer}.post_attention_layernorm`,
    ...fusedQkv(`${layer}.attention.query_key_value`, 'grouped'),
    'h.{l}.attn.proj': `${layer}.attention.dense`,
    'h.{l}.mlp.fc': `${layer}.mlp.dense_h_to_4h`,
    'h.{l}.mlp.proj': `${layer}.mlp.dense_4h_to_h`,
    ln_f: `${prefix}.final_layer_norm`,
    lm_head: 'embed_out',
    ...own,
  };
}

export const gptNeox: Family = {
  modelTypes: ['gpt_neox'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['layer_norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu',
      rope: { fraction: 0.25, fractionKeys: ['rotary_pct'], thetaKeys: ['rotary_emb_base'] },
    });
    const bias = r.bool('attention_bias', true);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      parallelResidual: r.bool('use_parallel_residual', true),
      mlpKind: base.mlpKind.map(() => 'mlp' as const),
      mlpBias: true,
    };
  },
  tensors: neoxTensors('gpt_neox'),
};
