/**
 * @file Databricks and MosaicML: mpt (alibi, layer norms without bias), dbrx (experts). Reference: transformers models
 * of these names.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { expertTensors, type Family, fusedQkv, plainMlpTensors } from '../family.ts';
import { expertCounts, moeLayers } from '../moe.ts';
import { attnBias, type BaseKeys, readBase, ungatedMlp } from '../read-base.ts';

const KEYS: BaseKeys = {
  nEmbd: ['d_model'],
  nLayer: ['n_layers'],
  nHead: ['n_heads'],
  nQueryGroups: null,
  contextLength: ['max_seq_len'],
  intermediateSize: null,
  activation: null,
  normEps: null,
};

function checkAttention(attn: ConfigReader): void {
  if (!attn.bool('alibi', true)) attn.fail('alibi', 'is false, which this family is not known with');
  attn.refuse('alibi_bias_max', 'only 8 is supported', [8]);
  for (const key of ['qk_ln', 'prefix_lm', 'attn_uses_sequence_id']) attn.refuse(key, 'is not supported');
  attn.refuse('attn_type', 'only "multihead_attention" is supported', ['multihead_attention']);
  attn.skip('attn_impl', 'attn_pdrop', 'model_type', 'tie_word_embeddings');
}

export const mpt: Family = {
  modelTypes: ['mpt'],
  config: (r) => {
    const attn = r.object('attn_config');
    const bias = !r.bool('no_bias', true);
    const base = readBase(r, {
      keys: { ...KEYS, normEps: ['layer_norm_epsilon'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias },
      activation: 'gelu',
      tie: true,
      intermediateSize: (nEmbd) => r.int('expansion_ratio', 4) * nEmbd,
      rope: null,
    });
    if (attn) checkAttention(attn);
    r.refuse('norm_type', 'only "low_precision_layernorm" is supported', ['low_precision_layernorm', 'layernorm']);
    r.refuse('logit_scale', 'is not supported', [null]);
    r.refuse('embedding_fraction', 'only 1 is supported', [1]); // of training
    r.skip('learned_pos_emb', 'tokenizer_name', 'verbose', 'init_device'); // ALiBi replaces positions
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...ungatedMlp(base, bias),
      attentionScale: attn?.positiveOrNull('softmax_scale') ?? base.attentionScale,
      clipQkv: attn?.positiveOrNull('clip_qkv') ?? null,
      position: 'alibi',
    };
  },
  tensors: {
    wte: 'transformer.wte',
    'h.{l}.norm_1': 'transformer.blocks.{l}.norm_1',
    'h.{l}.norm_2': 'transformer.blocks.{l}.norm_2',
    ...fusedQkv('transformer.blocks.{l}.attn.Wqkv', 'stacked'),
    'h.{l}.attn.proj': 'transformer.blocks.{l}.attn.out_proj',
    ...plainMlpTensors('transformer.blocks.{l}.ffn.up_proj', 'transformer.blocks.{l}.ffn.down_proj'),
    ln_f: 'transformer.norm_f',
    lm_head: 'lm_head',
  },
  prefixes: ['transformer.'],
};

export const dbrx: Family = {
  modelTypes: ['dbrx'],
  config: (r) => {
    const attn = r.object('attn_config');
    const ffn = r.object('ffn_config');
    const activation = ffn?.object('ffn_act_fn')?.string('name', 'silu') ?? 'silu';
    const hidden = ffn?.int('ffn_hidden_size', 3584) ?? 3584;
    const base = readBase(r, {
      keys: KEYS,
      normEps: 1e-5,
      norm: { kind: 'layer' },
      activation,
      nQueryGroups: attn?.int('kv_n_heads', 1) ?? 1,
      intermediateSize: () => hidden,
      rope: { fractionKeys: null },
    });
    r.intOrNull('num_key_value_heads'); // stated again by attn_config
    const width = ffn?.intOrNull('hidden_size') ?? base.nEmbd; // likewise
    if (width !== base.nEmbd) ffn?.fail('hidden_size', `is ${width}, but d_model is ${base.nEmbd}`);
    // Settings of any config, which mean nothing in a part of one.
    for (const part of [attn, ffn]) part?.skip('tie_word_embeddings', 'return_dict');
    ffn?.float('moe_jitter_eps', 0); // noise of training
    ffn?.float('moe_loss_weight', 0);
    if (base.tieEmbeddings) r.fail('tie_word_embeddings', 'is true, which this family does not have');
    // Newer files may state another base besides, which is a default and not the model's.
    const theta = attn?.positiveOrNull('rope_theta');
    return {
      ...base,
      ropes: base.ropes.map((rope) => (theta ? { ...rope, base: theta } : rope)),
      clipQkv: attn?.positiveOrNull('clip_qkv') ?? null,
      ...moeLayers(base, {
        ...(ffn ? expertCounts(ffn, ['moe_num_experts', 4], ['moe_top_k', 1]) : { nExpert: 4, nExpertPerToken: 1 }),
        normP: ffn?.isNull('moe_normalize_expert_weights')
          ? null
          : (ffn?.positive('moe_normalize_expert_weights', 1) ?? 1),
      }),
    };
  },
  tensors: {
    wte: 'transformer.wte',
    'h.{l}.norm_1': 'transformer.blocks.{l}.norm_attn_norm.norm_1',
    'h.{l}.norm_2': 'transformer.blocks.{l}.norm_attn_norm.norm_2',
    ...fusedQkv('transformer.blocks.{l}.norm_attn_norm.attn.Wqkv', 'stacked'),
    'h.{l}.attn.proj': 'transformer.blocks.{l}.norm_attn_norm.attn.out_proj',
    'h.{l}.mlp.gate': 'transformer.blocks.{l}.ffn.router.layer',
    ...expertTensors(
      { nthOf: 'experts', from: { bare: 'transformer.blocks.{l}.ffn.experts.mlp.w1' } },
      { nthOf: 'experts', from: { bare: 'transformer.blocks.{l}.ffn.experts.mlp.v1' } },
      { transposed: { nthOf: 'experts', from: { bare: 'transformer.blocks.{l}.ffn.experts.mlp.w2' } } },
    ),
    ln_f: 'transformer.norm_f',
    lm_head: 'lm_head',
  },
};
