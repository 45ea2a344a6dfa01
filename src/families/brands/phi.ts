/**
 * @file Microsoft's phi, phi3, phimoe. Reference: transformers models of these names.
 */
import { type Family, fusedGateUp, fusedQkv, llamaTensors, plainMlpTensors } from '../family.ts';
import { localExperts, moeLayers, SPARSE_EXPERTS } from '../moe.ts';
import { attnBias, PARALLEL_SHARED, qkNorm, readBase, ungatedMlp, window } from '../read-base.ts';

export const phi: Family = {
  modelTypes: ['phi'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['layer_norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu_new',
      rope: { fraction: 0.5 },
    });
    const norms = r.bool('qk_layernorm', false) ? qkNorm(base, 'head') : {};
    return {
      ...base,
      ...attnBias(base, true, true),
      ...ungatedMlp(base, true),
      ...PARALLEL_SHARED,
      ...norms,
      lmHeadBias: true,
    };
  },
  tensors: llamaTensors({
    'h.{l}.attn.proj': 'model.layers.{l}.self_attn.dense',
    'h.{l}.attn.norm_q': 'model.layers.{l}.self_attn.q_layernorm',
    'h.{l}.attn.norm_k': 'model.layers.{l}.self_attn.k_layernorm',
    ...plainMlpTensors('model.layers.{l}.mlp.fc1', 'model.layers.{l}.mlp.fc2'),
    ln_f: 'model.final_layernorm',
  }),
};

export const phi3: Family = {
  modelTypes: ['phi3'],
  config: (r) => {
    r.int('original_max_position_embeddings', 4096); // read by longrope; the other variants state it too
    const base = readBase(r, { normEps: 1e-5, rope: { typeAliases: { su: 'longrope', yarn: 'longrope' } } });
    for (const key of ['full_attn_mod', 'interpolate_factor']) r.refuse(key, 'only 1 is supported', [1]);
    return { ...base, ...window(base, r.intOrNull('sliding_window')) };
  },
  tensors: llamaTensors({
    ...fusedQkv('model.layers.{l}.self_attn.qkv_proj', 'stacked'),
    ...fusedGateUp('model.layers.{l}.mlp.gate_up_proj'),
  }),
};

export const phimoe: Family = {
  modelTypes: ['phimoe'],
  config: (r) => {
    r.int('original_max_position_embeddings', 4096); // read by longrope; stated without it, too
    const base = readBase(r, {
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      rope: { theta: 1e6, fractionKeys: null },
    });
    const bias = r.bool('attention_bias', false);
    r.float('input_jitter_noise', 0); // noise of training
    const jitter = r.float('router_jitter_noise', 0.01, 0);
    const experts = localExperts(r, 16);
    if (experts.nExpertPerToken !== 2)
      r.fail('num_experts_per_tok', `is ${experts.nExpertPerToken}, but this family's router chooses 2`);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...window(base, r.intOrNull('sliding_window')),
      ...moeLayers(base, { ...experts, router: 'sparsemixer', normP: null, jitter }),
      lmHeadBias: r.bool('lm_head_bias', false),
    };
  },
  tensors: llamaTensors(SPARSE_EXPERTS),
};
