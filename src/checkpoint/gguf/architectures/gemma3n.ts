/**
 * @file Gemma 3n: norms are plain; four streams, a low-rank branch beside attention, a vector of token and layer,
 * sparse activations.
 */
import { normalShare } from '../../../util/numbers.ts';
import { type Architecture, LLAMA_NAMES, QK_NORMS, rmsEps, tokens } from '../architecture.ts';
import { bare, expertsOf } from '../rules.ts';

const layer = 'model.layers.{l}';

/** What Gemma 3n and Gemma 4 have in common. */
export const GEMMA_LAYER_NAMES = {
  ...LLAMA_NAMES,
  ...QK_NORMS,
  'blk.{l}.post_attention_norm': `${layer}.post_attention_layernorm`,
  'blk.{l}.ffn_norm': `${layer}.pre_feedforward_layernorm`,
  'blk.{l}.post_ffw_norm': `${layer}.post_feedforward_layernorm`,
  per_layer_token_embd: 'model.embed_tokens_per_layer',
  per_layer_model_proj: 'model.per_layer_model_projection',
  per_layer_proj_norm: 'model.per_layer_projection_norm',
  'blk.{l}.inp_gate': `${layer}.per_layer_input_gate`,
  'blk.{l}.proj': `${layer}.per_layer_projection`,
  'blk.{l}.post_norm': `${layer}.post_per_layer_input_norm`,
} as const;

/** No model has more streams; each is a matrix of the model's width. */
const MAX_STREAMS = 16;

export const gemma3n: Architecture = {
  names: ['gemma3n'],
  config(model) {
    const { own, nLayer, nEmbd, nHead, nQueryGroups, headSize, tensors } = model;
    const size = own.int('embedding_length_per_layer_input', undefined, 1);
    const streams = own.int('altup.num_inputs', 4, 2);
    if (streams > MAX_STREAMS) throw own.fail('altup.num_inputs', `is ${streams}; there may be 2 to ${MAX_STREAMS}`);
    const key = 'attention.sliding_window_pattern';
    const types = own.isList(key)
      ? { layer_types: own.bools(key).map((on) => (on ? 'sliding_attention' : 'full_attention')) }
      : {};
    // The file has the number of standard deviations above which an activation stays, -inf for all; the family the
    // share below it.
    const scales = own.has('activation_sparsity_scale') ? own.numbers('activation_sparsity_scale') : null;
    return {
      model_type: 'gemma3n_text',
      hidden_size: nEmbd,
      num_hidden_layers: nLayer,
      num_attention_heads: nHead,
      num_key_value_heads: nQueryGroups,
      head_dim: headSize,
      intermediate_size: own.intsPer(nLayer, 'feed_forward_length'),
      max_position_embeddings: own.int('context_length', 2048, 1),
      ...tokens(model),
      rms_norm_eps: rmsEps(model),
      hidden_activation: 'gelu_pytorch_tanh',
      ...types,
      sliding_window: own.int('attention.sliding_window', 512, 1),
      rope_theta: own.float('rope.freq_base', 1e6),
      rope_local_base_freq: own.float('rope.freq_base_swa', 1e4),
      num_kv_shared_layers: own.int('attention.shared_kv_layers', 15),
      // llama.cpp's converter leaves it out.
      final_logit_softcapping: own.float('final_logit_softcapping', 30),
      hidden_size_per_layer_input: size,
      vocab_size_per_layer_input: tensors.get('per_layer_token_embd.weight')?.shape[0],
      altup_num_inputs: streams,
      altup_active_idx: own.int('altup.active_idx', 0),
      laurel_rank: tensors.get('blk.0.laurel_l.weight')?.shape[0],
      activation_sparsity_pattern: scales?.slice(0, nLayer).map(normalShare),
    };
  },
  tensors: {
    ...GEMMA_LAYER_NAMES,
    altup_proj: expertsOf('model.altup_projections.{e}'),
    altup_unembd_proj: expertsOf('model.altup_unembed_projections.{e}'),
    'blk.{l}.altup_correct_coef': `${layer}.altup.correction_coefs`,
    'blk.{l}.altup_correct_scale': bare(`${layer}.altup.correct_output_scale`),
    'blk.{l}.altup_predict_coef': `${layer}.altup.prediction_coefs`,
    'blk.{l}.altup_router': `${layer}.altup.modality_router`,
    'blk.{l}.altup_router_norm': `${layer}.altup.router_norm`,
    'blk.{l}.laurel_l': `${layer}.laurel.linear_left`,
    'blk.{l}.laurel_r': `${layer}.laurel.linear_right`,
    'blk.{l}.laurel_post_norm': `${layer}.laurel.post_laurel_norm`,
  },
};
