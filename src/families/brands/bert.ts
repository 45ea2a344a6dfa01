/**
 * @file Encoders of text for retrieval: BERT, RoBERTa, XLM-RoBERTa, DistilBERT, ModernBERT, EuroBERT. Reference:
 * transformers models/bert, models/xlm_roberta, models/distilbert, models/modernbert, models/eurobert.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, fusedGateUp, fusedQkv, llamaTensors, plainMlpTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import {
  attnBias,
  type BaseDefaults,
  type BaseKeys,
  readBase,
  ropesByType,
  slidingLayers,
  ungatedMlp,
  window,
} from '../read-base.ts';

/** The states of all tokens, each of which attends to all others. */
const ENCODER = { output: 'hidden', causal: false, tieEmbeddings: false } as const;

/**
 * Heads of checkpoints that were trained for a task, and the pooler; what embeds or ranks texts reads its own from the
 * file.
 */
const HEADS = [/(^|\.)pooler\./, /^(cls|classifier|lm_head|qa_outputs|pre_classifier)\./, /^vocab_/, /position_ids$/];

/** BERT's layer: norms of the sums, biases everywhere, a plain MLP, learned positions and a norm of the embedding. */
function bertBase(r: ConfigReader, defaults: BaseDefaults): FamilyConfig {
  const base = readBase(r, {
    normEps: 1e-12,
    norm: { kind: 'layer', bias: true },
    activation: 'gelu',
    rope: null,
    ...defaults,
  });
  r.refuse('is_decoder', 'this family is read as an encoder');
  r.refuse('add_cross_attention', 'cross-attention is not supported in this family');
  return {
    ...base,
    ...ENCODER,
    ...attnBias(base, true, true),
    ...ungatedMlp(base, true),
    position: 'learned',
    embedNorm: true,
    finalNorm: null,
    normPlacement: 'after-add',
  };
}

const BERT_KEYS: BaseKeys = { nQueryGroups: null, normEps: ['layer_norm_eps'] };

function bertConfig(r: ConfigReader): FamilyConfig {
  r.refuse('position_embedding_type', 'only learned absolute positions are supported', ['absolute']);
  return { ...bertBase(r, { keys: BERT_KEYS }), tokenTypes: r.int('type_vocab_size', 2) };
}

const bertLayer = 'encoder.layer.{l}';

export const bert: Family = {
  modelTypes: ['bert'],
  config: bertConfig,
  tensors: {
    wte: 'embeddings.word_embeddings',
    wpe: 'embeddings.position_embeddings',
    wtt: 'embeddings.token_type_embeddings',
    wte_norm: 'embeddings.LayerNorm',
    'h.{l}.norm_1': `${bertLayer}.attention.output.LayerNorm`,
    'h.{l}.norm_2': `${bertLayer}.output.LayerNorm`,
    'h.{l}.attn.q': `${bertLayer}.attention.self.query`,
    'h.{l}.attn.k': `${bertLayer}.attention.self.key`,
    'h.{l}.attn.v': `${bertLayer}.attention.self.value`,
    'h.{l}.attn.proj': `${bertLayer}.attention.output.dense`,
    ...plainMlpTensors(`${bertLayer}.intermediate.dense`, `${bertLayer}.output.dense`),
  },
  prefixes: ['bert.'],
  ignore: HEADS,
  rankHead: { dense: 'pooler.dense', activation: 'tanh', out: 'classifier' },
};

/** BERT with positions that begin behind the padding token's row. */
export const roberta: Family = {
  ...bert,
  modelTypes: ['roberta', 'xlm-roberta', 'camembert'],
  config: (r) => {
    const base = bertConfig(r);
    const positionOffset = r.int('pad_token_id', 1, 0) + 1;
    return { ...base, positionOffset, contextLength: base.contextLength - positionOffset };
  },
  prefixes: ['roberta.'],
  rankHead: { dense: 'classifier.dense', activation: 'tanh', out: 'classifier.out_proj' },
};

const distilLayer = 'transformer.layer.{l}';

export const distilbert: Family = {
  modelTypes: ['distilbert'],
  config: (r) => {
    r.skip('sinusoidal_pos_embds'); // how the table was filled before training; the file holds it
    return bertBase(r, {
      keys: {
        nEmbd: ['dim'],
        nLayer: ['n_layers'],
        nHead: ['n_heads'],
        nQueryGroups: null,
        intermediateSize: ['hidden_dim'],
        activation: ['activation'],
        normEps: null,
      },
    });
  },
  tensors: {
    wte: 'embeddings.word_embeddings',
    wpe: 'embeddings.position_embeddings',
    wte_norm: 'embeddings.LayerNorm',
    'h.{l}.norm_1': `${distilLayer}.sa_layer_norm`,
    'h.{l}.norm_2': `${distilLayer}.output_layer_norm`,
    'h.{l}.attn.q': `${distilLayer}.attention.q_lin`,
    'h.{l}.attn.k': `${distilLayer}.attention.k_lin`,
    'h.{l}.attn.v': `${distilLayer}.attention.v_lin`,
    'h.{l}.attn.proj': `${distilLayer}.attention.out_lin`,
    ...plainMlpTensors(`${distilLayer}.ffn.lin1`, `${distilLayer}.ffn.lin2`),
  },
  prefixes: ['distilbert.'],
  ignore: HEADS,
  rankHead: { dense: 'pre_classifier', activation: 'relu', out: 'classifier' },
};

/** What a config may state that the published models do not have. */
const NOMIC_FALSE = [
  ...[
    'prenorm',
    'use_rms_norm',
    'parallel_block',
    'rotary_emb_interleaved',
    'causal',
    'scale_attn_by_inverse_layer_idx',
  ],
  ...['qkv_proj_bias', 'mlp_fc1_bias', 'mlp_fc2_bias'],
];
const nomicLayer = 'encoder.layers.{l}';

/**
 * BERT with rotation, a gated MLP and no biases. transformers reads and writes these names, too; its config has other
 * keys.
 */
export const nomicBert: Family = {
  modelTypes: ['nomic_bert'],
  config: (r) => {
    const base = bertBase(r, {
      keys: {
        nEmbd: ['hidden_size', 'n_embd'],
        nLayer: ['num_hidden_layers', 'n_layer'],
        nHead: ['num_attention_heads', 'n_head'],
        nQueryGroups: null,
        contextLength: ['max_position_embeddings', 'n_positions'],
        intermediateSize: ['intermediate_size', 'n_inner'],
        activation: ['hidden_act', 'activation_function'],
        normEps: ['layer_norm_eps', 'layer_norm_epsilon'],
      },
      activation: 'silu',
      rope: { theta: 1000, thetaKeys: ['rotary_emb_base'], fractionKeys: ['rotary_emb_fraction'] },
    });
    for (const key of NOMIC_FALSE) r.refuse(key, 'only false is supported', [false]);
    r.refuse('rotary_scaling_factor', 'scaled rotation is not supported in this family', [null]);
    r.refuse('rotary_emb_scale_base', 'scaled rotation is not supported in this family', [null]);
    // of training
    r.skip('max_trained_positions', 'pad_vocab_size_multiple', 'parallel_block_tied_norm', 'reorder_and_upcast_attn');
    // of other code's arithmetic
    r.skip('scale_attn_weights', 'last_layer_subset', 'dense_seq_output', 'use_flash_attn', 'use_xentropy');
    r.skip('fused_bias_fc', 'fused_dropout_add_ln');
    return {
      ...base,
      ...attnBias(base, false, false),
      mlpKind: base.mlpKind.map(() => 'gated' as const),
      mlpBias: false,
      position: 'rope',
      tokenTypes: r.int('type_vocab_size', 2),
    };
  },
  tensors: {
    wte: 'embeddings.word_embeddings',
    wtt: 'embeddings.token_type_embeddings',
    wte_norm: 'emb_ln',
    'h.{l}.norm_1': `${nomicLayer}.norm1`,
    'h.{l}.norm_2': `${nomicLayer}.norm2`,
    ...fusedQkv(`${nomicLayer}.attn.Wqkv`, 'stacked'),
    'h.{l}.attn.proj': `${nomicLayer}.attn.out_proj`,
    'h.{l}.mlp.fc_1': `${nomicLayer}.mlp.fc12`,
    'h.{l}.mlp.fc_2': `${nomicLayer}.mlp.fc11`,
    'h.{l}.mlp.proj': `${nomicLayer}.mlp.fc2`,
  },
  prefixes: ['nomic_bert.'],
  ignore: HEADS,
};

/**
 * BERT's successor: norms before the branches (the first layer reads the embedding as it is), rotation, windows to both
 * sides.
 */
export const modernbert: Family = {
  modelTypes: ['modernbert'],
  config: (r) => {
    const defaults = { theta: 160_000, thetaKeys: ['global_rope_theta'], fractionKeys: null };
    const base = readBase(r, {
      keys: { nQueryGroups: null, normEps: ['norm_eps'], activation: ['hidden_activation'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: r.bool('norm_bias', false) },
      activation: 'gelu',
      rope: { ...defaults, layerType: 'full_attention' },
    });
    const bias = r.bool('attention_bias', false);
    const every = r.int('global_attn_every_n_layers', 3);
    const sliding = slidingLayers(r, base.nLayer, (l) => l % every !== 0);
    const sizes = { headSize: base.headSize, maxSeq: base.contextLength };
    // written by the tool that converted the first models, and read by no code
    r.skip('position_embedding_type', 'layer_norm_eps');
    r.skip('sparse_prediction', 'sparse_pred_ignore_index', 'decoder_bias'); // of the head
    r.skip('deterministic_flash_attn', 'reference_compile', 'repad_logits_with_grad', 'initializer_cutoff_factor');
    return {
      ...base,
      ...ENCODER,
      ...attnBias(base, bias, bias),
      // Half of the window lies on either side.
      ...window(base, Math.floor(r.int('local_attention', 128) / 2) + 1, (l) => sliding[l]),
      ...ropesByType(r, { ...defaults, ...sizes }, sliding, r.positive('local_rope_theta', 10_000)),
      mlpBias: r.bool('mlp_bias', false),
      embedNorm: true,
      layer: (layer, l) => (l === 0 ? { ...layer, norms: { ...layer.norms, beforeMixer: null } } : layer),
    };
  },
  tensors: {
    wte: 'embeddings.tok_embeddings',
    wte_norm: 'embeddings.norm',
    'h.{l}.norm_1': 'layers.{l}.attn_norm',
    'h.{l}.norm_2': 'layers.{l}.mlp_norm',
    ...fusedQkv('layers.{l}.attn.Wqkv', 'stacked'),
    'h.{l}.attn.proj': 'layers.{l}.attn.Wo',
    ...fusedGateUp('layers.{l}.mlp.Wi'),
    'h.{l}.mlp.proj': 'layers.{l}.mlp.Wo',
    ln_f: 'final_norm',
  },
  ignore: [/^head\./, /^decoder\./, /^classifier\./],
  rankHead: { dense: 'head.dense', activation: 'gelu', norm: 'head.norm', out: 'classifier' },
};

/** Llama without its mask. */
export const eurobert: Family = {
  modelTypes: ['eurobert'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, rope: { fractionKeys: null, theta: 250_000 } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...ENCODER, ...attnBias(base, bias, bias), mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
  ignore: HEADS,
};
