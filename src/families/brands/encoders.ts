/**
 * @file Encoders: ESM-2 (proteins), Pixtral's vision tower, the transformers of the codec Mimi, and CLVP's encoders,
 * together with CLVP's decoder.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, llamaTensors, plainMlpTensors } from '../family.ts';
import { attnBias, readBase, ungatedMlp, window } from '../read-base.ts';
import { checkRotatedWidth } from '../read-rope.ts';
import { GPT2_KEYS } from './gpt2.ts';

const esmLayer = 'esm.encoder.layer.{l}';

export const esm: Family = {
  modelTypes: ['esm'],
  config: (r) => {
    const position = r.choice('position_embedding_type', { rotary: 'rope', absolute: 'learned' } as const, 'absolute');
    const base = readBase(r, {
      keys: { nQueryGroups: null, normEps: ['layer_norm_eps'], activation: null },
      normEps: 1e-12,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu',
      tie: true,
      rope: position === 'rope' ? { fractionKeys: null } : null,
    });
    r.refuse('hidden_act', 'this family knows only "gelu"', ['gelu']);
    r.refuse('is_decoder', 'this family is read as an encoder');
    r.refuse('add_cross_attention', 'cross-attention is not supported in this family');
    r.refuse('is_folding_model', 'folding is not supported, only the language model');
    r.skip('esmfold_config', 'vocab_list', 'rope_theta');
    const padding = r.int('pad_token_id', 1, 0);
    // Row 0 of the table would be position -offset: those up to the padding token's are never used.
    const learned =
      position === 'learned'
        ? { position, positionOffset: padding + 1, contextLength: base.contextLength - padding - 1, ropes: [] }
        : {};
    return {
      ...base,
      ...attnBias(base, true, true),
      ...ungatedMlp(base, true),
      ...learned,
      output: 'masked-logits',
      causal: false,
      droppedToken: r.bool('token_dropout', false) ? r.int('mask_token_id', undefined, 0) : null,
      embedNorm: r.bool('emb_layer_norm_before', false),
      headNorm: base.norm,
      lmHeadBias: true,
    };
  },
  tensors: {
    wte: 'esm.embeddings.word_embeddings',
    wpe: 'esm.embeddings.position_embeddings',
    wte_norm: 'esm.embeddings.layer_norm',
    'h.{l}.norm_1': `${esmLayer}.attention.LayerNorm`,
    'h.{l}.norm_2': `${esmLayer}.LayerNorm`,
    'h.{l}.attn.q': `${esmLayer}.attention.self.query`,
    'h.{l}.attn.k': `${esmLayer}.attention.self.key`,
    'h.{l}.attn.v': `${esmLayer}.attention.self.value`,
    'h.{l}.attn.proj': `${esmLayer}.attention.output.dense`,
    ...plainMlpTensors(`${esmLayer}.intermediate.dense`, `${esmLayer}.output.dense`),
    ln_f: 'esm.encoder.emb_layer_norm_after',
    head_dense: 'lm_head.dense',
    head_norm: 'lm_head.layer_norm',
    lm_head: 'lm_head.decoder',
    'lm_head.bias': { bare: 'lm_head.bias' },
  },
  prefixes: ['esm.'],
  ignore: [/contact_head\./, /pooler\./, /position_ids$/, /position_embeddings\.weight$/, /^lm_head\.decoder\./],
};

const pixtralLayer = 'transformer.layers.{l}';

export const pixtral: Family = {
  modelTypes: ['pixtral'],
  config: (r) => {
    const size = r.int('patch_size', 16);
    const most = Math.floor(r.int('image_size', 1024) / size);
    const base = readBase(r, {
      keys: { vocabSize: null, nQueryGroups: null, normEps: null, contextLength: [] },
      normEps: 1e-5,
      activation: 'gelu',
      rope: { fractionKeys: null, typeAliases: { axial: 'default' } },
    });
    const pairs = base.headSize / 2;
    if (!Number.isInteger(pairs)) r.fail('head_dim', `is ${base.headSize}, but rotates whole and in pairs`);
    // Half of the pairs turn by the row, half by the column; frequencies go to them by turns.
    const sections = [Math.ceil(pairs / 2), Math.floor(pairs / 2)];
    return {
      ...base,
      input: 'patches',
      output: 'hidden',
      causal: false,
      tieEmbeddings: false,
      contextLength: most * most,
      patch: { size, channels: r.int('num_channels', 3), most },
      ropes: base.ropes.map((rope) => ({ ...rope, sections, alternate: true })),
      embedNorm: true,
      finalNorm: null,
    };
  },
  tensors: {
    patches: 'patch_conv',
    wte_norm: 'ln_pre',
    'h.{l}.norm_1': `${pixtralLayer}.attention_norm`,
    'h.{l}.norm_2': `${pixtralLayer}.ffn_norm`,
    'h.{l}.attn.q': `${pixtralLayer}.attention.q_proj`,
    'h.{l}.attn.k': `${pixtralLayer}.attention.k_proj`,
    'h.{l}.attn.v': `${pixtralLayer}.attention.v_proj`,
    'h.{l}.attn.proj': `${pixtralLayer}.attention.o_proj`,
    'h.{l}.mlp.fc_1': `${pixtralLayer}.feed_forward.gate_proj`,
    'h.{l}.mlp.fc_2': `${pixtralLayer}.feed_forward.up_proj`,
    'h.{l}.mlp.proj': `${pixtralLayer}.feed_forward.down_proj`,
  },
};

/** What a config of the codec says of convolutions and code books. */
const MIMI_CODEC = [
  ...['sampling_rate', 'frame_rate', 'audio_channels', 'num_filters', 'num_residual_layers', 'upsampling_ratios'],
  ...['kernel_size', 'last_kernel_size', 'residual_kernel_size', 'dilation_growth_rate', 'use_causal_conv', 'pad_mode'],
  ...['compress', 'trim_right_ratio', 'codebook_size', 'codebook_dim', 'num_quantizers', 'use_conv_shortcut'],
  ...['vector_quantization_hidden_dimension', 'num_semantic_quantizers', 'upsample_groups', 'use_streaming'],
  ...['layer_scale_initial_scale', 'normalize'],
];

/** The transformer between the codec's convolutions and its code books; there is one on either side. */
export const mimi: Family = {
  modelTypes: ['mimi'],
  config: (r) => {
    const base = readBase(r, {
      keys: { vocabSize: null, normEps: ['norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu',
      rope: { fractionKeys: null },
    });
    const bias = r.bool('attention_bias', false);
    r.skip(...MIMI_CODEC);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...ungatedMlp(base, false),
      ...window(base, r.int('sliding_window', 250)),
      input: 'vectors',
      output: 'hidden',
      tieEmbeddings: false,
      layerScale: true,
      finalNorm: null,
    };
  },
  tensors: {
    'h.{l}.norm_1': 'layers.{l}.input_layernorm',
    'h.{l}.norm_2': 'layers.{l}.post_attention_layernorm',
    'h.{l}.attn.q': 'layers.{l}.self_attn.q_proj',
    'h.{l}.attn.k': 'layers.{l}.self_attn.k_proj',
    'h.{l}.attn.v': 'layers.{l}.self_attn.v_proj',
    'h.{l}.attn.proj': 'layers.{l}.self_attn.o_proj',
    'h.{l}.attn.scale': { bare: 'layers.{l}.self_attn_layer_scale.scale' },
    ...plainMlpTensors('layers.{l}.mlp.fc1', 'layers.{l}.mlp.fc2'),
    'h.{l}.mlp.scale': { bare: 'layers.{l}.mlp_layer_scale.scale' },
  },
};

export const clvpEncoder: Family = {
  modelTypes: ['clvp_encoder'],
  config: (r) => {
    const base = readBase(r, {
      keys: { nQueryGroups: null, normEps: ['layer_norm_eps'] },
      normEps: 1e-5,
      activation: 'gelu',
      rope: null,
    });
    const projectionDim = r.int('projection_dim', 768);
    const nElem = Math.max(Math.floor(projectionDim / (2 * base.nHead)), 32);
    const rotates = r.bool('use_rotary_embedding', true);
    if (rotates) checkRotatedWidth(r, 'projection_dim', nElem, base.headSize);
    r.refuse('summary_type', 'only the mean of all tokens is supported', ['mean']);
    for (const key of ['summary_use_proj', 'summary_activation'])
      r.refuse(key, 'a summary with more than the mean is not supported');
    return {
      ...base,
      ...attnBias(base, r.bool('use_attention_bias', false), true),
      ...(rotates
        ? {
            position: 'rope',
            ropes: [{ base: 10_000, nElem, interleave: false, scaling: { type: 'none' } }],
            ropeIndices: base.ropeIndices.map(() => 0),
            rotateValues: true,
          }
        : {}),
      output: 'pooled',
      causal: false,
      projectionDim,
      mlpBias: true,
      finalNorm: { ...base.norm, kind: 'layer', bias: true },
    };
  },
  tensors: {
    wte: 'token_embedding',
    'h.{l}.norm_1': 'layers.{l}.input_rmsnorm',
    'h.{l}.norm_2': 'layers.{l}.post_attention_rmsnorm',
    'h.{l}.attn.q': 'layers.{l}.self_attn.q_proj',
    'h.{l}.attn.k': 'layers.{l}.self_attn.k_proj',
    'h.{l}.attn.v': 'layers.{l}.self_attn.v_proj',
    'h.{l}.attn.proj': 'layers.{l}.self_attn.out_proj',
    // The gate is the second half here.
    'h.{l}.mlp.fc_1': { part: 1, parts: 2, from: 'layers.{l}.mlp.fc1.proj' },
    'h.{l}.mlp.fc_2': { part: 0, parts: 2, from: 'layers.{l}.mlp.fc1.proj' },
    'h.{l}.mlp.proj': 'layers.{l}.mlp.fc2',
    ln_f: 'final_layer_norm',
    projection: 'projection',
  },
};

/** The norm before the head, whose epsilon no config states. */
const CLVP_HEAD_EPS = 1e-5;
const clvpLayer = 'model.decoder.layers.{l}';

export const clvpDecoder: Family = {
  modelTypes: ['clvp_decoder'],
  config: (r: ConfigReader) => {
    const base = readBase(r, GPT2_KEYS);
    r.refuse('add_cross_attention', 'cross-attention is not supported in this family');
    // of what goes before and after
    r.skip('max_text_tokens', 'num_mel_attn_blocks', 'feature_size', 'decoder_fixing_codes');
    return {
      ...base,
      ...attnBias(base, r.bool('use_attention_bias', true), true),
      ...ungatedMlp(base, true),
      position: 'learned',
      headNorm: { ...base.norm, eps: CLVP_HEAD_EPS },
      lmHeadBias: true,
    };
  },
  tensors: llamaTensors({
    wte: 'model.decoder.input_embeds_layer',
    wpe: 'model.decoder.position_embeds_layer',
    'h.{l}.norm_1': `${clvpLayer}.input_layernorm`,
    'h.{l}.norm_2': `${clvpLayer}.post_attention_layernorm`,
    'h.{l}.attn.q': `${clvpLayer}.attn.q_proj`,
    'h.{l}.attn.k': `${clvpLayer}.attn.k_proj`,
    'h.{l}.attn.v': `${clvpLayer}.attn.v_proj`,
    'h.{l}.attn.proj': `${clvpLayer}.attn.out_proj`,
    ...plainMlpTensors({ transposed: `${clvpLayer}.mlp.c_fc` }, { transposed: `${clvpLayer}.mlp.c_proj` }),
    ln_f: 'model.decoder.layer_norm',
    head_norm: 'final_norm',
  }),
};
