/**
 * @file MosaicML's MPT: alibi, layer norms without bias. Reference: transformers models/mpt.
 */
import { type Family, fusedQkv, plainMlpTensors } from './family.ts';
import { attnBias, readBase, ungatedMlp } from './read-base.ts';

export const mpt: Family = {
  modelTypes: ['mpt'],
  config: (r) => {
    const attn = r.object('attn_config');
    const bias = !r.bool('no_bias', true);
    const expansion = r.int('expansion_ratio', 4);
    const base = readBase(r, {
      keys: {
        nEmbd: ['d_model'],
        nLayer: ['n_layers'],
        nHead: ['n_heads'],
        nQueryGroups: null,
        contextLength: ['max_seq_len'],
        intermediateSize: null,
        activation: null,
        normEps: ['layer_norm_epsilon'],
      },
      normEps: 1e-5,
      norm: { kind: 'layer', bias },
      activation: 'gelu',
      tie: true,
      intermediateSize: (nEmbd) => expansion * nEmbd,
      rope: null,
    });
    const alibi = attn?.bool('alibi', true) ?? true;
    if (!alibi) attn?.fail('alibi', 'is false, which this family is not known with');
    attn?.refuse('alibi_bias_max', 'only 8 is supported', [8]);
    for (const key of ['qk_ln', 'prefix_lm', 'attn_uses_sequence_id']) attn?.refuse(key, 'is not supported');
    attn?.refuse('attn_type', 'only "multihead_attention" is supported', ['multihead_attention']);
    attn?.skip('attn_impl', 'attn_pdrop', 'model_type', 'tie_word_embeddings');
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
