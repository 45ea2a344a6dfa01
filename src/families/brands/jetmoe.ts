/**
 * @file JetMoE: experts of attention, too. Reference: transformers models/jetmoe.
 */
import { type Family, llamaTensors } from '../family.ts';
import { localExperts, moeLayers, stackedExperts } from '../moe.ts';
import { attnBias, readBase } from '../read-base.ts';

export const jetmoe: Family = {
  modelTypes: ['jetmoe'],
  config: (r) => {
    r.float('aux_loss_coef', 0); // of training
    const experts = localExperts(r, 8);
    const groups = r.int('num_key_value_heads', 16);
    const heads = groups * experts.nExpertPerToken;
    if (r.has('num_attention_heads') && r.int('num_attention_heads') !== heads)
      r.fail(
        'num_attention_heads',
        `is ${r.int('num_attention_heads')}, but ${experts.nExpertPerToken} experts a token with ${groups} heads each make ${heads}`,
      );
    const base = readBase(r, {
      keys: { headSize: ['kv_channels', 'head_dim'], activation: ['activation_function'] },
      nHead: heads,
      headSize: 128,
      nQueryGroups: groups,
      tie: true,
      rope: { fractionKeys: null },
    });
    return {
      ...base,
      // The blocks' norms have an epsilon of their own that no config states.
      norm: { ...base.norm, eps: 1e-6 },
      attentionKind: base.attentionKind.map(() => 'experts' as const),
      ...attnBias(base, false, true),
      ...moeLayers(base, { ...experts, outputBias: true }),
    };
  },
  tensors: llamaTensors({
    'h.{l}.attn.gate': 'model.layers.{l}.self_attention.experts.router.layer',
    'h.{l}.attn.experts.{e}.q': { nthOf: 'experts', from: 'model.layers.{l}.self_attention.experts.input_linear' },
    'h.{l}.attn.experts.{e}.proj': { nthOf: 'experts', from: 'model.layers.{l}.self_attention.experts.output_linear' },
    'h.{l}.attn.k': { part: 0, parts: 2, from: 'model.layers.{l}.self_attention.kv_proj' },
    'h.{l}.attn.v': { part: 1, parts: 2, from: 'model.layers.{l}.self_attention.kv_proj' },
    'h.{l}.attn.proj.bias': { bare: 'model.layers.{l}.self_attention.experts.bias' },
    ...stackedExperts('model.layers.{l}.mlp'),
    'h.{l}.mlp.bias': { bare: 'model.layers.{l}.mlp.bias' },
  }),
};
