/**
 * @file MiniMax M2: a norm over all heads together, half of each head rotates, sigmoid routers. Reference: transformers
 * models/minimax_m2.
 */
import { expertTensors, type Family, llamaTensors } from '../family.ts';
import { expertCount, mixture, mlpOn, router } from '../mixture.ts';
import { qkNorm, readBase } from '../read-base.ts';

const moe = 'model.layers.{l}.block_sparse_moe';

export const minimaxM2: Family = {
  modelTypes: ['minimax_m2'],
  config: (r) => {
    const rope = { theta: 5e6, fraction: 0.5 };
    const base = readBase(r, { headSize: 128, rope: r.has('rotary_dim') ? { ...rope, widthKey: 'rotary_dim' } : rope });
    const { count, perToken } = expertCount(r, 'num_local_experts', 'num_experts_per_tok', [256, 8]);
    r.refuse('scoring_func', 'only "sigmoid" is supported', ['sigmoid']);
    r.refuse('qk_norm_type', 'only "per_layer" is supported', ['per_layer']);
    for (const key of ['use_qk_norm', 'use_routing_bias']) r.refuse(key, 'only true is supported', [true]);
    r.refuse('shared_intermediate_size', 'shared experts are not supported in this family');
    if (r.has('attn_type_list') && r.numbers('attn_type_list', base.nLayer).some((type) => type !== 1))
      r.fail('attn_type_list', 'names layers of another attention than 1');
    for (const key of ['full_attention', 'linear_attention', 'mlp'])
      r.refuse(`layernorm_${key}_beta`, 'only 1 is supported', [1]);
    r.skip('mlp_intermediate_size', 'shared_moe_mode'); // of MiniMax-01's dense and shared MLPs
    r.skip('num_mtp_modules', 'mtp_transformer_layers', 'use_mtp', 'router_jitter_noise', 'max_model_len');
    const mlp = mixture(base, {
      router: router(perToken, { score: 'sigmoid', choiceBias: true, normP: 1 }),
      experts: { count, size: base.intermediateSize },
    });
    return { ...base, ...qkNorm(base, 'full'), layer: mlpOn(mlp) };
  },
  tensors: llamaTensors({
    'h.{l}.mlp.gate': `${moe}.gate`,
    'h.{l}.mlp.choice_bias': { bare: `${moe}.e_score_correction_bias` },
    ...expertTensors(`${moe}.experts.{e}.w1`, `${moe}.experts.{e}.w3`, `${moe}.experts.{e}.w2`),
  }),
};
