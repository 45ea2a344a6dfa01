/**
 * @file Models with state spaces: mamba (with Falcon Mamba), mamba2, jamba.
 */
import { range } from '../../../util/numbers.ts';
import { type Architecture, type GgufModel, type Json, LLAMA_NAMES, type TensorRule, tokens } from '../architecture.ts';
import { mapped } from '../rearrange.ts';
import { bare } from '../rules.ts';
import { llamaConfig } from './llama.ts';
import { expertSizes, experts } from './moe.ts';

const MIXER = 'backbone.layers.{l}.mixer';

/** What models of state spaces alone have in common. */
function backboneConfig(model: GgufModel): Json {
  const { own } = model;
  return {
    ...tokens(model),
    hidden_size: model.nEmbd,
    num_hidden_layers: model.nLayer,
    state_size: own.int('ssm.state_size', undefined, 1),
    conv_kernel: own.int('ssm.conv_kernel', undefined, 2),
    layer_norm_epsilon: own.float('attention.layer_norm_rms_epsilon'),
    use_bias: model.has('blk.0.ssm_in.bias'),
    use_conv_bias: model.has('blk.0.ssm_conv1d.bias'),
  };
}

function mambaConfig(model: GgufModel): Json {
  const { own } = model;
  // Falcon Mamba's norms of B, C and the time step have no weights, and an epsilon of their own that files do not
  // state.
  const isFalcon = own.bool('ssm.dt_b_c_rms', false);
  return {
    ...backboneConfig(model),
    model_type: isFalcon ? 'falcon_mamba' : 'mamba',
    intermediate_size: own.int('ssm.inner_size', undefined, 1),
    time_step_rank: own.int('ssm.time_step_rank', undefined, 1),
  };
}

/** The tensors of a state space module. */
const ssmRules = (module: string): Readonly<Record<string, TensorRule>> => ({
  'blk.{l}.ssm_in': `${module}.in_proj`,
  'blk.{l}.ssm_conv1d': `${module}.conv1d`,
  'blk.{l}.ssm_x': `${module}.x_proj`,
  'blk.{l}.ssm_dt': `${module}.dt_proj`,
  // Stored as -e^a.
  'blk.{l}.ssm_a': { to: `${module}.A_log`, make: (tensor, name) => mapped(tensor, name, (a) => Math.log(-a)) },
  'blk.{l}.ssm_d': `${module}.D`,
  'blk.{l}.ssm_out': `${module}.out_proj`,
});

/** The same of Mamba-2. */
export const mamba2Rules = (module: string): Readonly<Record<string, TensorRule>> => ({
  ...ssmRules(module),
  'blk.{l}.ssm_dt': bare(`${module}.dt_bias`),
  // Rows of groups in the file, one vector in the family.
  'blk.{l}.ssm_norm': {
    to: `${module}.norm`,
    make: (tensor, name) => ({ ...tensor, name, shape: [tensor.shape.reduce((a, b) => a * b, 1)] }),
  },
});

const BACKBONE: Readonly<Record<string, TensorRule>> = {
  token_embd: 'backbone.embeddings',
  output_norm: 'backbone.norm_f',
  output: 'lm_head',
  'blk.{l}.attn_norm': 'backbone.layers.{l}.norm',
  ...ssmRules(MIXER),
};

export const mamba: Architecture = { names: ['mamba'], hasHeads: false, config: mambaConfig, tensors: BACKBONE };

export const mamba2: Architecture = {
  names: ['mamba2'],
  hasHeads: false,
  config(model) {
    const { own } = model;
    const [inner, heads] = [own.int('ssm.inner_size', undefined, 1), own.int('ssm.time_step_rank', undefined, 1)];
    if (inner % heads !== 0) throw own.fail('ssm.inner_size', `is ${inner}, no multiple of the ${heads} heads`);
    return {
      ...backboneConfig(model),
      model_type: 'mamba2',
      num_heads: heads,
      head_dim: inner / heads,
      n_groups: own.int('ssm.group_count', 1, 1),
    };
  },
  tensors: { ...BACKBONE, ...mamba2Rules(MIXER) },
};

/** Which layers are meant, as a period and an offset. */
function everyWhich(model: GgufModel, key: string, isMeant: (l: number) => boolean): readonly [number, number] {
  const found = range(model.nLayer).filter(isMeant);
  const first = found[0] ?? 0;
  const period = found.length > 1 ? found[1] - first : model.nLayer;
  const isRegular = range(model.nLayer).every((l) => isMeant(l) === (found.length > 0 && l % period === first));
  if (!isRegular) throw model.own.fail(key, 'are not of every so many layers, which is what this architecture has');
  return [period, first];
}

const JAMBA = 'model.layers.{l}.mamba';
const FEED = 'model.layers.{l}.feed_forward';

/** Layers without key heads are state spaces. */
export const jamba: Architecture = {
  names: ['jamba'],
  async config(model) {
    const { own } = model;
    const { head_dim: _, rope_theta: __, rope_scaling: ___, ...base } = await llamaConfig(model);
    const heads = own.intsPer(model.nLayer, 'attention.head_count_kv');
    const attention = everyWhich(model, 'attention.head_count_kv', (l) => heads[l] > 0);
    const hasExperts = (l: number) => model.has(`blk.${l}.ffn_gate_inp.weight`);
    const sparse = everyWhich(model, 'expert_count', hasExperts);
    const states = heads.indexOf(0);
    return {
      ...base,
      ...(own.int('expert_count', 0) > 0
        ? expertSizes(model, 'num_experts')
        : { num_experts: 1, num_experts_per_tok: 1 }),
      model_type: 'jamba',
      attn_layer_period: attention[0],
      attn_layer_offset: attention[1],
      expert_layer_period: sparse[0],
      expert_layer_offset: sparse[1],
      mamba_expand: own.int('ssm.inner_size', undefined, 1) / model.nEmbd,
      mamba_d_state: own.int('ssm.state_size', undefined, 1),
      mamba_d_conv: own.int('ssm.conv_kernel', undefined, 2),
      mamba_dt_rank: own.int('ssm.time_step_rank', undefined, 1),
      mamba_conv_bias: model.has(`blk.${states}.ssm_conv1d.bias`),
      mamba_proj_bias: model.has(`blk.${states}.ssm_in.bias`),
    };
  },
  tensors: {
    ...LLAMA_NAMES,
    ...experts({
      router: `${FEED}.router`,
      gate: `${FEED}.experts.{e}.gate_proj`,
      up: `${FEED}.experts.{e}.up_proj`,
      down: `${FEED}.experts.{e}.down_proj`,
    }),
    'blk.{l}.ffn_gate': `${FEED}.gate_proj`,
    'blk.{l}.ffn_up': `${FEED}.up_proj`,
    'blk.{l}.ffn_down': `${FEED}.down_proj`,
    ...ssmRules(JAMBA),
    output_norm: 'model.final_layernorm',
    'blk.{l}.ffn_norm': 'model.layers.{l}.pre_ff_layernorm',
    'blk.{l}.ssm_dt_norm': `${JAMBA}.dt_layernorm`,
    'blk.{l}.ssm_b_norm': `${JAMBA}.b_layernorm`,
    'blk.{l}.ssm_c_norm': `${JAMBA}.c_layernorm`,
  },
};
