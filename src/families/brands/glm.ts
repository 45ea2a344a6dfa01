/**
 * @file Z.ai's GLM models: half of each head rotates. glm and glm4 interleave, glm4_moe does not. Reference:
 * transformers models/glm*.
 */
import { type Family, fusedGateUp, llamaTensors } from '../family.ts';
import { DEEPSEEK_EXPERTS, deepseekMixture, ignoreLayersBehind } from '../mixture.ts';
import { attnBias, qkNorm, readBase } from '../read-base.ts';

export const glm: Family = {
  modelTypes: ['glm'],
  config: (r) => {
    const base = readBase(r, {
      headSize: 128,
      normEps: 1.5625e-7,
      rope: { interleave: true, fraction: 0.5 },
    });
    return { ...base, ...attnBias(base, r.bool('attention_bias', true), false) };
  },
  tensors: llamaTensors(fusedGateUp('model.layers.{l}.mlp.gate_up_proj')),
};

/** GLM 4 of April 2025 (GLM-4-0414, Z1): norms before and behind both branches. */
export const glm4: Family = {
  modelTypes: ['glm4', 'glm4v_text'],
  config: (r) => {
    const base = glm.config(r);
    // GLM-4.1V has the biases, whatever its file states.
    const biases = r.string('model_type') === 'glm4v_text' ? attnBias(base, true, false) : {};
    return { ...base, ...biases, postAttentionNorm: true, postMlpNorm: true };
  },
  tensors: {
    ...glm.tensors,
    'h.{l}.post_attention_norm': 'model.layers.{l}.post_self_attn_layernorm',
    'h.{l}.post_mlp_norm': 'model.layers.{l}.post_mlp_layernorm',
  },
};

/** GLM 4.5 to 4.7. */
export const glm4Moe: Family = {
  modelTypes: ['glm4_moe', 'glm4v_moe_text'],
  config: (r) => {
    const base = readBase(r, { headSize: 128, normEps: 1e-5, rope: { fraction: 0.5 } });
    return {
      ...base,
      ...attnBias(base, r.bool('attention_bias', false), false),
      ...(r.bool('use_qk_norm', false) ? qkNorm(base, 'head') : {}),
      ...deepseekMixture(r, base, 'sigmoid'),
    };
  },
  tensors: llamaTensors(DEEPSEEK_EXPERTS),
  ignore: [ignoreLayersBehind],
};
