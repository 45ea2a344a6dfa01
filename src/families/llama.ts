/**
 * @file Llama and the families that differ from it by little: mistral, qwen2, qwen3, phi3, glm, granite, moshi, chameleon.
 */

import type { ConfigReader } from '../config/reader.ts';
import { type Family, fusedGateUp, fusedQkv, headNormTensors, llamaTensors } from './family.ts';
import type { FamilyConfig } from './layers.ts';
import { attnBias, type BaseDefaults, qkNorm, readBase, slidingLayers, window, windowSize } from './read-base.ts';

export const llama: Family = {
  modelTypes: ['llama'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
};

export const mistral: Family = {
  modelTypes: ['mistral'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    return { ...base, ...window(base, windowSize(r, 4096)) };
  },
  tensors: llamaTensors(),
};

/** Ministral 3: queries grow with the logarithm of their position, beyond the length that the model was first trained with. */
export const ministral3: Family = {
  modelTypes: ['ministral3'],
  config: (r) => {
    const base = readBase(r, {
      normEps: 1e-5,
      headSize: 128,
      nQueryGroups: 8,
      rope: { theta: 1e6, fractionKeys: null },
    });
    const rope = r.object('rope_parameters');
    const beta = rope?.float('llama_4_scaling_beta', 0, 0) ?? 0;
    const floor = rope?.int('original_max_position_embeddings', base.contextLength) ?? base.contextLength;
    const temperature = beta > 0 ? { beta, floor, offset: 0 } : null;
    return {
      ...base,
      ...window(base, r.intOrNull('sliding_window')),
      layer: ({ mixer, ...layer }) => ({
        ...layer,
        mixer: mixer?.kind === 'self-attention' ? { ...mixer, temperature } : mixer,
      }),
    };
  },
  tensors: llamaTensors(),
};

function qwenConfig(r: ConfigReader, own: BaseDefaults = {}): FamilyConfig {
  const base = readBase(r, { ...own, rope: { fractionKeys: null } });
  const from = r.int('max_window_layers', 28, 0);
  const sliding = slidingLayers(r, base.nLayer, (l) => l >= from);
  return { ...base, ...attnBias(base, true, false), ...window(base, qwenWindow(r), (l) => sliding[l]) };
}

/** Qwen's files state a window that only counts where another key says so, and may be 0 where it does not. */
export function qwenWindow(r: ConfigReader): number | null {
  if (r.bool('use_sliding_window', false)) return windowSize(r, 4096);
  r.intOrNull('sliding_window', 0);
  return null;
}

export const qwen2: Family = {
  modelTypes: ['qwen2'],
  config: (r) => qwenConfig(r),
  tensors: llamaTensors(),
};

export const qwen3: Family = {
  modelTypes: ['qwen3'],
  config: (r) => {
    const base = qwenConfig(r, { headSize: 128 });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...qkNorm(base, 'head') };
  },
  tensors: llamaTensors(),
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

export const qwen2Vl: Family = {
  modelTypes: ['qwen2_vl_text', 'qwen2_vl', 'qwen2_5_vl_text', 'qwen2_5_vl'],
  config: qwen2.config,
  tensors: llamaTensors(),
};

/** Meta's CWM: Llama 3 with windows on three layers of four. */
export const cwm: Family = {
  modelTypes: ['cwm'],
  config: (r) => {
    const base = readBase(r, {
      normEps: 1e-5,
      headSize: 128,
      nQueryGroups: 8,
      rope: { theta: 1e6, fractionKeys: null },
    });
    const sliding = slidingLayers(r, base.nLayer, (l) => l % 4 !== 0);
    const size = r.int('sliding_window', 8192);
    return { ...base, ...window(base, size, (l) => sliding[l]), mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
};

/** Kyutai's Helium: Llama with interleaved rotation. */
export const helium: Family = {
  modelTypes: ['helium'],
  config: (r) => {
    const rope = { interleave: true, theta: 100_000, fractionKeys: null };
    const base = readBase(r, { normEps: 1e-8, headSize: 128, rope });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, false), mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
};

/** Qwen3-VL's decoder: the three positions of an image's tokens take frequencies by turns. */
export const qwen3Vl: Family = {
  modelTypes: ['qwen3_vl_text'],
  config: (r) => {
    const base = readBase(r, { headSize: 128, rope: { theta: 500_000, fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...qkNorm(base, 'head') };
  },
  tensors: llamaTensors(),
};

/** Moshi's main decoder, as far as it is a language model: text tokens in, text logits out. */
export const moshi: Family = {
  modelTypes: ['moshi'],
  config: (r) => {
    const base = readBase(r, { keys: { intermediateSize: ['ffn_dim'] }, normEps: 1e-8, rope: { fractionKeys: null } });
    if (base.intermediateSize % 2 !== 0) r.fail('ffn_dim', `is ${base.intermediateSize}, but holds two halves`);
    for (const key of ['audio_vocab_size', 'num_codebooks']) r.intOrNull(key);
    r.skip('depth_decoder_config', 'audio_encoder_config');
    // Newer versions of transformers state the window and forget it; the model was trained with it.
    const limits = window(base, r.intOrNull('sliding_window'));
    return { ...base, ...limits, intermediateSize: base.intermediateSize / 2, embedRows: base.vocabSize + 1 };
  },
  tensors: llamaTensors({
    'h.{l}.attn.q': 'model.layers.{l}.self_attn.q_proj.linear',
    'h.{l}.attn.k': 'model.layers.{l}.self_attn.k_proj.linear',
    'h.{l}.attn.v': 'model.layers.{l}.self_attn.v_proj.linear',
    'h.{l}.attn.proj': 'model.layers.{l}.self_attn.o_proj.linear',
    ...fusedGateUp('model.layers.{l}.mlp.fc1'),
    'h.{l}.mlp.proj': 'model.layers.{l}.mlp.fc2',
  }),
  prefixes: ['decoder.'],
  ignore: [/^(depth_decoder|audio_encoder|embed_tokens)\./],
};

/** Chameleon on text: its image tokens are never predicted. */
export const chameleon: Family = {
  modelTypes: ['chameleon'],
  config: (r) => {
    const base = llama.config(r);
    const swin = r.bool('swin_norm', false);
    const images = Object.entries(r.record('vocabulary_map')).filter(([name]) => name.startsWith('IMGIMG'));
    r.skip('vq_config', 'image_token_id', 'boi_token_id', 'eoi_token_id', 'model_parallel_size');
    return {
      ...base,
      ...qkNorm(base, 'each-head', { kind: 'layer', bias: true, eps: 1e-5 }),
      ...(swin ? { norm1: false, norm2: false, postAttentionNorm: true, postMlpNorm: true } : {}),
      suppressedTokens: images.map(([, id]) => id),
    };
  },
  tensors: llamaTensors({
    'h.{l}.post_attention_norm': 'model.layers.{l}.input_layernorm',
    'h.{l}.post_mlp_norm': 'model.layers.{l}.post_attention_layernorm',
    ...headNormTensors('model.layers.{l}.self_attn.q_norm', 'model.layers.{l}.self_attn.k_norm'),
  }),
  ignore: [/^model\.vqmodel\./],
};
