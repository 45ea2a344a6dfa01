/**
 * @file GPT-NeoX (Pythia) and its kin: layer norms with bias, partial rotation, fused queries, keys and values.
 */
import type { TensorMap } from '../../weights/tensor-map.ts';
import { type Family, fusedQkv, llamaTensors, plainMlpTensors } from '../family.ts';
import { attnBias, qkNorm, readBase, ungatedMlp } from '../read-base.ts';

/** Module names of GPT-NeoX under another prefix. */
function neoxTensors(prefix: string, own: TensorMap = {}): TensorMap {
  const layer = `${prefix}.layers.{l}`;
  return {
    wte: `${prefix}.embed_in`,
    'h.{l}.norm_1': `${layer}.input_layernorm`,
    'h.{l}.norm_2': `${layer}.post_attention_layernorm`,
    ...fusedQkv(`${layer}.attention.query_key_value`, 'grouped'),
    'h.{l}.attn.proj': `${layer}.attention.dense`,
    ...plainMlpTensors(`${layer}.mlp.dense_h_to_4h`, `${layer}.mlp.dense_4h_to_h`),
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
    const parallelResidual = r.bool('use_parallel_residual', true);
    return { ...base, ...attnBias(base, bias, bias), ...ungatedMlp(base, true), parallelResidual };
  },
  tensors: neoxTensors('gpt_neox'),
  prefixes: ['gpt_neox.'],
};

export const gptNeoxJapanese: Family = {
  modelTypes: ['gpt_neox_japanese'],
  config: (r) => {
    const multiple = r.positive('intermediate_multiple_size', 4);
    const base = readBase(r, {
      keys: { normEps: ['layer_norm_eps'], intermediateSize: null },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu',
      tie: true,
      intermediateSize: (nEmbd) => Math.trunc(nEmbd * multiple),
      rope: { fraction: 1, fractionKeys: ['rotary_pct'], thetaKeys: ['rotary_emb_base'] },
    });
    // Only the last layer has a bias behind its attention.
    const proj = base.attnBias.proj.map((_, l) => l === base.nLayer - 1);
    return { ...base, ...ungatedMlp(base, false), attnBias: { qkv: false, proj } };
  },
  tensors: neoxTensors('gpt_neox_japanese', {
    'h.{l}.attn.proj.bias': { bare: 'gpt_neox_japanese.layers.{l}.attention.dense_bias' },
  }),
  prefixes: ['gpt_neox_japanese.'],
};

export const persimmon: Family = {
  modelTypes: ['persimmon'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['layer_norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'relu2',
      rope: { fraction: 0.5, theta: 25_000 },
    });
    const norms = r.bool('qk_layernorm', true) ? qkNorm(base, 'head') : {};
    return { ...base, ...attnBias(base, true, true), ...ungatedMlp(base, true), ...norms };
  },
  tensors: llamaTensors({
    ...fusedQkv('model.layers.{l}.self_attn.query_key_value', 'grouped'),
    'h.{l}.attn.proj': 'model.layers.{l}.self_attn.dense',
    'h.{l}.attn.norm_q': 'model.layers.{l}.self_attn.q_layernorm',
    'h.{l}.attn.norm_k': 'model.layers.{l}.self_attn.k_layernorm',
    ...plainMlpTensors('model.layers.{l}.mlp.dense_h_to_4h', 'model.layers.{l}.mlp.dense_4h_to_h'),
    ln_f: 'model.final_layernorm',
  }),
};
