/**
 * @file Models of states alone: mamba (with Falcon Mamba).
 */
import { type Architecture, type GgufModel, type Json, tokens } from '../architecture.ts';
import { mapped } from '../rearrange.ts';

const MIXER = 'backbone.layers.{l}.mixer';

function mambaConfig(model: GgufModel): Json {
  const { own } = model;
  // Falcon Mamba's norms of B, C and the time step have no weights, and an epsilon of their own that files do not state.
  const isFalcon = own.bool('ssm.dt_b_c_rms', false);
  return {
    ...tokens(model),
    model_type: isFalcon ? 'falcon_mamba' : 'mamba',
    hidden_size: model.nEmbd,
    num_hidden_layers: model.nLayer,
    intermediate_size: own.int('ssm.inner_size', undefined, 1),
    state_size: own.int('ssm.state_size', undefined, 1),
    conv_kernel: own.int('ssm.conv_kernel', undefined, 2),
    time_step_rank: own.int('ssm.time_step_rank', undefined, 1),
    layer_norm_epsilon: own.float('attention.layer_norm_rms_epsilon'),
    use_bias: model.has('blk.0.ssm_in.bias'),
    use_conv_bias: model.has('blk.0.ssm_conv1d.bias'),
  };
}

export const mamba: Architecture = {
  names: ['mamba'],
  hasHeads: false,
  config: mambaConfig,
  tensors: {
    token_embd: 'backbone.embeddings',
    output_norm: 'backbone.norm_f',
    output: 'lm_head',
    'blk.{l}.attn_norm': 'backbone.layers.{l}.norm',
    'blk.{l}.ssm_in': `${MIXER}.in_proj`,
    'blk.{l}.ssm_conv1d': `${MIXER}.conv1d`,
    'blk.{l}.ssm_x': `${MIXER}.x_proj`,
    'blk.{l}.ssm_dt': `${MIXER}.dt_proj`,
    // Stored as -e^a.
    'blk.{l}.ssm_a': { to: `${MIXER}.A_log`, make: (tensor, name) => mapped(tensor, name, (a) => Math.log(-a)) },
    'blk.{l}.ssm_d': `${MIXER}.D`,
    'blk.{l}.ssm_out': `${MIXER}.out_proj`,
  },
};
