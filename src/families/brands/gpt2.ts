/**
 * @file The families that followed GPT-2: gpt2, gptj, codegen, opt, bloom, falcon.
 */
import type { ConfigReader } from '../../config/reader.ts';
import type { TensorMap } from '../../weights/tensor-map.ts';
import { type Family, fairseqLayerTensors, fusedQkv, plainMlpTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { attnBias, type BaseDefaults, PARALLEL_SHARED, readBase, ungatedMlp } from '../read-base.ts';

/** Keys and defaults of GPT-2's config. */
export const GPT2_KEYS: BaseDefaults = {
  keys: {
    nEmbd: ['n_embd', 'hidden_size'],
    nLayer: ['n_layer', 'num_hidden_layers'],
    nHead: ['n_head', 'num_attention_heads'],
    nQueryGroups: null,
    contextLength: ['n_positions', 'n_ctx', 'max_position_embeddings'],
    intermediateSize: ['n_inner'],
    activation: ['activation_function'],
    normEps: ['layer_norm_epsilon'],
  },
  normEps: 1e-5,
  norm: { kind: 'layer', bias: true },
  activation: 'gelu_new',
  intermediateSize: (nEmbd) => 4 * nEmbd,
  rope: null,
};

/** Embeddings and norms of GPT-2's checkpoints. */
export const GPT2_TENSORS: TensorMap = {
  wte: 'transformer.wte',
  wpe: 'transformer.wpe',
  'h.{l}.norm_1': 'transformer.h.{l}.ln_1',
  'h.{l}.norm_2': 'transformer.h.{l}.ln_2',
  ln_f: 'transformer.ln_f',
  lm_head: 'lm_head',
};

/** @throws ConfigError for a decoder with an encoder before it. */
export function notCrossAttending(r: ConfigReader): void {
  r.refuse('add_cross_attention', 'cross-attention is not supported in this family');
}

/** Layers and positions as GPT-2 has them. */
export function gpt2Layers(r: ConfigReader, base: FamilyConfig): FamilyConfig {
  return {
    ...base,
    ...attnBias(base, true, true),
    ...ungatedMlp(base, true),
    position: 'learned',
    attentionScale: r.bool('scale_attn_weights', true) ? base.attentionScale : 1,
  };
}

export const gpt2: Family = {
  modelTypes: ['gpt2'],
  config: (r) => {
    const base = readBase(r, { ...GPT2_KEYS, tie: true });
    r.refuse('scale_attn_by_inverse_layer_idx', 'attention scales that differ from layer to layer are not supported');
    notCrossAttending(r);
    r.bool('reorder_and_upcast_attn', false); // says how numbers are rounded in half precision
    return gpt2Layers(r, base);
  },
  tensors: {
    ...GPT2_TENSORS,
    ...fusedQkv({ transposed: 'transformer.h.{l}.attn.c_attn' }, 'stacked'),
    'h.{l}.attn.proj': { transposed: 'transformer.h.{l}.attn.c_proj' },
    ...plainMlpTensors({ transposed: 'transformer.h.{l}.mlp.c_fc' }, { transposed: 'transformer.h.{l}.mlp.c_proj' }),
  },
  prefixes: ['transformer.'],
};

/** What gptj and codegen have in common: interleaved rotation, parallel branches behind one norm. */
function gptjConfig(r: ConfigReader): FamilyConfig {
  const rope = { interleave: true, widthKey: 'rotary_dim', width: 64, fractionKeys: null };
  const base = readBase(r, { ...GPT2_KEYS, rope });
  r.skip('rotary', 'scale_attn_weights'); // always so, whatever the file says
  return { ...base, ...ungatedMlp(base, true), ...PARALLEL_SHARED, lmHeadBias: true };
}

function gptjTensors(qkv: TensorMap): TensorMap {
  return {
    wte: 'transformer.wte',
    'h.{l}.norm_1': 'transformer.h.{l}.ln_1',
    ...qkv,
    'h.{l}.attn.proj': 'transformer.h.{l}.attn.out_proj',
    ...plainMlpTensors('transformer.h.{l}.mlp.fc_in', 'transformer.h.{l}.mlp.fc_out'),
    ln_f: 'transformer.ln_f',
    lm_head: 'lm_head',
  };
}

const ROTARY_BUFFERS = [/embed_positions$/];

export const gptj: Family = {
  modelTypes: ['gptj'],
  config: gptjConfig,
  tensors: gptjTensors({
    'h.{l}.attn.q': 'transformer.h.{l}.attn.q_proj',
    'h.{l}.attn.k': 'transformer.h.{l}.attn.k_proj',
    'h.{l}.attn.v': 'transformer.h.{l}.attn.v_proj',
  }),
  ignore: ROTARY_BUFFERS,
};

export const codegen: Family = {
  modelTypes: ['codegen'],
  config: (r) => {
    const config = gptjConfig(r);
    if (config.nHead % 4 !== 0)
      r.fail('n_head', `is ${config.nHead}, but this family's heads come in four equal parts`);
    return config;
  },
  tensors: gptjTensors(fusedQkv('transformer.h.{l}.attn.qkv_proj', 'codegen')),
  ignore: ROTARY_BUFFERS,
};

export const opt: Family = {
  modelTypes: ['opt'],
  config: (r) => {
    const affine = r.bool('layer_norm_elementwise_affine', true);
    const base = readBase(r, {
      keys: { nQueryGroups: null, intermediateSize: ['ffn_dim'], activation: ['activation_function'], normEps: null },
      normEps: 1e-5,
      norm: { kind: 'layer', affine, bias: affine },
      activation: 'relu',
      tie: true,
      rope: null,
    });
    const bias = r.bool('enable_bias', true);
    const before = r.bool('do_layer_norm_before', true);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...ungatedMlp(base, bias),
      embedDim: r.int('word_embed_proj_dim', base.nEmbd),
      position: 'learned',
      positionOffset: 2,
      normPlacement: before ? 'pre' : 'after-add',
      finalNorm: before && !r.bool('_remove_final_layer_norm', false) ? base.norm : null,
    };
  },
  tensors: {
    wte: 'model.decoder.embed_tokens',
    wpe: 'model.decoder.embed_positions',
    project_in: 'model.decoder.project_in',
    project_out: 'model.decoder.project_out',
    ...fairseqLayerTensors('model.decoder.layers.{l}'),
    ln_f: 'model.decoder.final_layer_norm',
    lm_head: 'lm_head',
  },
  prefixes: ['model.'],
};

/** Module names that bloom and falcon share. */
const FALCON_TENSORS: TensorMap = {
  wte: 'transformer.word_embeddings',
  wte_norm: 'transformer.word_embeddings_layernorm',
  'h.{l}.norm_1': { oneOf: ['transformer.h.{l}.ln_attn', 'transformer.h.{l}.input_layernorm'] },
  'h.{l}.norm_2': { oneOf: ['transformer.h.{l}.ln_mlp', 'transformer.h.{l}.post_attention_layernorm'] },
  ...fusedQkv('transformer.h.{l}.self_attention.query_key_value', 'grouped'),
  'h.{l}.attn.proj': 'transformer.h.{l}.self_attention.dense',
  ...plainMlpTensors('transformer.h.{l}.mlp.dense_h_to_4h', 'transformer.h.{l}.mlp.dense_4h_to_h'),
  ln_f: 'transformer.ln_f',
  lm_head: 'lm_head',
};

export const bloom: Family = {
  modelTypes: ['bloom'],
  config: (r) => {
    const base = readBase(r, {
      ...GPT2_KEYS,
      keys: {
        ...GPT2_KEYS.keys,
        nEmbd: ['hidden_size', 'n_embed'],
        contextLength: ['seq_length'],
        intermediateSize: null,
        activation: null,
      },
      tie: true,
    });
    r.refuse('apply_residual_connection_post_layernorm', 'residuals that are taken behind the norm are not supported');
    return { ...base, ...attnBias(base, true, true), ...ungatedMlp(base, true), position: 'alibi', embedNorm: true };
  },
  tensors: FALCON_TENSORS,
  prefixes: ['transformer.'],
};

export const falcon: Family = {
  modelTypes: ['falcon', 'RefinedWeb', 'RefinedWebModel'],
  config: (r) => {
    const fresh = r.bool('new_decoder_architecture', false);
    const multiQuery = r.bool('multi_query', true);
    const alibi = r.bool('alibi', false);
    const kvHeads = r.intOrNull(['num_kv_heads', 'n_head_kv']);
    const norms = r.intOrNull('num_ln_in_parallel_attn') ?? (fresh ? 2 : 1);
    const parallelResidual = r.bool('parallel_attn', true) || fresh;
    const base = readBase(r, {
      keys: {
        nLayer: ['num_hidden_layers', 'n_layer'],
        nHead: ['num_attention_heads', 'n_head'],
        nQueryGroups: null,
        intermediateSize: ['ffn_hidden_size'],
        activation: ['activation'],
        normEps: ['layer_norm_epsilon'],
      },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      activation: 'gelu',
      tie: true,
      nQueryGroups: fresh ? (kvHeads ?? undefined) : multiQuery ? 1 : undefined,
      intermediateSize: (nEmbd) => 4 * nEmbd,
      rope: alibi ? null : { fractionKeys: null },
    });
    if (alibi) r.skip('rope_theta', 'rope_parameters', 'rope_scaling'); // stated all the same
    const bias = r.bool('bias', false);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...ungatedMlp(base, bias),
      ...(alibi ? { position: 'alibi', alibiScaled: true } : {}),
      parallelResidual,
      sharedAttentionNorm: parallelResidual && norms === 1,
    };
  },
  tensors: FALCON_TENSORS,
  prefixes: ['transformer.'],
};
