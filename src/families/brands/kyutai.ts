/**
 * @file Kyutai's helium and moshi. Reference: transformers models of these names.
 */
import { type Family, fusedGateUp, llamaTensors } from '../family.ts';
import { attnBias, readBase, window } from '../read-base.ts';

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
