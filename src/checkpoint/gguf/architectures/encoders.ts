/**
 * @file Encoders of text: bert (with XLM-RoBERTa, whose table of positions is cut in files), nomic-bert, modern-bert,
 * eurobert, llama-embed, gemma-embedding.
 */
import { range } from '../../../util/numbers.ts';
import { type Architecture, type GgufModel, type Json, LLAMA_NAMES, layerEps, ropeTheta } from '../architecture.ts';
import { ROTATED } from '../rules.ts';
import { specialTokenId } from '../special-tokens.ts';
import { gemma3 } from './gemma.ts';
import { llamaConfig } from './llama.ts';

/** @throws CheckpointError for a file of a decoder under this name. */
function encoderConfig({ own, all, tensors, nLayer, nHead, nEmbd }: GgufModel): Json {
  if (own.bool('attention.causal', false))
    throw own.fail('attention.causal', 'is true; this architecture is read as an encoder');
  const size = tensors.get('token_embd.weight')?.shape[0];
  return {
    hidden_size: nEmbd,
    num_hidden_layers: nLayer,
    num_attention_heads: nHead,
    intermediate_size: own.int('feed_forward_length', undefined, 1),
    max_position_embeddings: tensors.get('position_embd.weight')?.shape[0] ?? own.int('context_length', 2048, 1),
    vocab_size: size,
    pad_token_id: specialTokenId(all, 'padding', size ?? 0) ?? undefined,
  };
}

const typesOf = ({ tensors }: GgufModel): number => tensors.get('token_types.weight')?.shape[0] ?? 0;
const BERT = 'encoder.layer.{l}';

export const bert: Architecture = {
  names: ['bert'],
  config: (model) => ({
    ...encoderConfig(model),
    model_type: 'bert',
    layer_norm_eps: layerEps(model),
    type_vocab_size: typesOf(model),
  }),
  tensors: {
    token_embd: 'embeddings.word_embeddings',
    position_embd: 'embeddings.position_embeddings',
    token_types: 'embeddings.token_type_embeddings',
    token_embd_norm: 'embeddings.LayerNorm',
    'blk.{l}.attn_q': `${BERT}.attention.self.query`,
    'blk.{l}.attn_k': `${BERT}.attention.self.key`,
    'blk.{l}.attn_v': `${BERT}.attention.self.value`,
    'blk.{l}.attn_output': `${BERT}.attention.output.dense`,
    'blk.{l}.attn_output_norm': `${BERT}.attention.output.LayerNorm`,
    'blk.{l}.ffn_up': `${BERT}.intermediate.dense`,
    'blk.{l}.ffn_down': `${BERT}.output.dense`,
    'blk.{l}.layer_output_norm': `${BERT}.output.LayerNorm`,
  },
  // Heads of models that rank.
  ignore: [/^cls(\.|$)/],
};

const NOMIC = 'encoder.layers.{l}';

export const nomicBert: Architecture = {
  names: ['nomic-bert'],
  config: (model) => ({
    ...encoderConfig(model),
    model_type: 'nomic_bert',
    layer_norm_eps: layerEps(model),
    type_vocab_size: typesOf(model),
    rotary_emb_base: ropeTheta(model),
  }),
  tensors: {
    token_embd: 'embeddings.word_embeddings',
    token_types: 'embeddings.token_type_embeddings',
    token_embd_norm: 'emb_ln',
    'blk.{l}.attn_qkv': `${NOMIC}.attn.Wqkv`,
    'blk.{l}.attn_output': `${NOMIC}.attn.out_proj`,
    'blk.{l}.attn_output_norm': `${NOMIC}.norm1`,
    'blk.{l}.ffn_up': `${NOMIC}.mlp.fc11`,
    'blk.{l}.ffn_gate': `${NOMIC}.mlp.fc12`,
    'blk.{l}.ffn_down': `${NOMIC}.mlp.fc2`,
    'blk.{l}.layer_output_norm': `${NOMIC}.norm2`,
  },
};

/** Every which layer sees all tokens, from the first on; the others see half a window to each side. */
export const modernBert: Architecture = {
  names: ['modern-bert'],
  config(model) {
    const { own } = model;
    const every = own.int('attention.sliding_window_pattern', 3, 1);
    return {
      ...encoderConfig(model),
      model_type: 'modernbert',
      norm_eps: layerEps(model),
      local_attention: own.int('attention.sliding_window', 128, 1),
      global_attn_every_n_layers: every,
      layer_types: range(model.nLayer).map((l) => (l % every === 0 ? 'full_attention' : 'sliding_attention')),
      global_rope_theta: ropeTheta(model),
      local_rope_theta: own.float('rope.freq_base_swa', 10_000),
    };
  },
  tensors: {
    token_embd: 'embeddings.tok_embeddings',
    token_embd_norm: 'embeddings.norm',
    output_norm: 'final_norm',
    'blk.{l}.attn_norm': 'layers.{l}.attn_norm',
    'blk.{l}.attn_qkv': 'layers.{l}.attn.Wqkv',
    'blk.{l}.attn_output': 'layers.{l}.attn.Wo',
    'blk.{l}.ffn_norm': 'layers.{l}.mlp_norm',
    'blk.{l}.ffn_up': 'layers.{l}.mlp.Wi',
    'blk.{l}.ffn_down': 'layers.{l}.mlp.Wo',
  },
};

/** Llama without its mask. */
async function bothWays(model: GgufModel): Promise<Json> {
  // The head of a decoder is not used.
  const { tie_word_embeddings: _, ...config } = await llamaConfig(model);
  return { ...config, model_type: 'eurobert', attention_bias: model.has('blk.0.attn_q.bias') };
}

export const eurobert: Architecture = { names: ['eurobert'], config: bothWays, tensors: LLAMA_NAMES };

export const llamaEmbed: Architecture = {
  names: ['llama-embed'],
  config: bothWays,
  tensors: { ...LLAMA_NAMES, ...ROTATED },
  ignore: [/^output\.weight$/],
};

/** Gemma 3 without its mask: a window lies half on either side. */
export const gemmaEmbedding: Architecture = {
  ...gemma3,
  names: ['gemma-embedding'],
  config: async (model) => ({ ...(await gemma3.config(model)), use_bidirectional_attention: true }),
};
