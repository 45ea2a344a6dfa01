/**
 * @file Decoders with state space layers: mamba (arXiv 2312.00752), falcon_mamba, jamba, mamba2 (arXiv 2405.21060),
 * bamba. Reference: transformers' models of these names.
 */
import type { LayerSpec, Mamba, Mamba2, MixerSpec } from '../../config/layer-spec.ts';
import type { NormSpec } from '../../config/norm-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import type { TensorMap } from '../../weights/tensor-map.ts';
import { expertTensors, type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertCount, mixture, router } from '../mixture.ts';
import { type BaseDefaults, readBase, ropeOn } from '../read-base.ts';

/** How the weights of a state space layer were made when training began. */
export function skipInitialization(r: ConfigReader): void {
  r.skip('rescale_prenorm_residual', 'residual_in_fp32', 'time_step_floor', 'time_step_init_scheme', 'time_step_max');
  r.skip('time_step_min', 'time_step_scale', 'use_associative_scan', 'use_mambapy', 'use_mamba_kernels', 'chunk_size');
}

/** Models without attention: their layers are one mixer each, and their state has no end. */
const STATES_ONLY: BaseDefaults = {
  nHead: 1,
  rope: null,
  normEps: 1e-5,
  intermediateSize: (nEmbd) => 2 * nEmbd,
  keys: { nHead: [], nQueryGroups: null, headSize: [], normEps: ['layer_norm_epsilon'] },
};

/** Names of checkpoints that call the decoder a backbone. */
export function backbone(own: TensorMap): TensorMap {
  return {
    wte: 'backbone.embeddings',
    'h.{l}.norm_1': 'backbone.layers.{l}.norm',
    ln_f: 'backbone.norm_f',
    lm_head: 'lm_head',
    ...own,
  };
}

/** A state space module's tensors; those that a kind does not have are not asked for. */
export function ssmTensors(module: string): TensorMap {
  return {
    'h.{l}.ssm.in': `${module}.in_proj`,
    'h.{l}.ssm.conv': { transposed: `${module}.conv1d` },
    'h.{l}.ssm.x': `${module}.x_proj`,
    'h.{l}.ssm.dt': `${module}.dt_proj`,
    'h.{l}.ssm.a_log': { bare: `${module}.A_log` },
    'h.{l}.ssm.d': { bare: `${module}.D` },
    'h.{l}.ssm.dt_bias': { bare: `${module}.dt_bias` },
    'h.{l}.ssm.norm': `${module}.norm`,
    'h.{l}.ssm.out': `${module}.out_proj`,
  };
}

/** The layer is this mixer, and nothing else. */
const alone = (mixer: MixerSpec) => (layer: LayerSpec) => ({ ...layer, mixer, mlp: null });

/** Keys of a Mamba-1 layer, which differ by family. */
interface Mamba1Keys {
  readonly stateSize: string;
  readonly rank: string;
  readonly convWidth: string;
  readonly convBias: string;
  readonly projBias: string;
}

/** @param norm of the step and of what is written to and read from the state; null: there is none. */
function mamba1Mixer(
  r: ConfigReader,
  { nEmbd }: FamilyConfig,
  keys: Mamba1Keys,
  width: number,
  norm: NormSpec | null,
): Mamba {
  return {
    kind: 'mamba-1',
    width,
    stateSize: r.int(keys.stateSize, 16),
    rank: timeRank(r, keys.rank, nEmbd),
    convWidth: r.int(keys.convWidth, 4, 2, 64),
    bias: { conv: r.bool(keys.convBias, true), proj: r.bool(keys.projBias, false) },
    norm,
  };
}

function mambaConfig(r: ConfigReader, norm: NormSpec | null): FamilyConfig {
  const base = readBase(r, { ...STATES_ONLY, tie: true });
  skipInitialization(r);
  // of mamba_ssm, twice stated
  r.skip('expand', 'd_inner', 'd_model', 'n_layer', 'fused_add_norm', 'pad_vocab_size_multiple');
  r.refuse('rms_norm', 'only true is supported', [true]);
  const keys: Mamba1Keys = {
    stateSize: 'state_size',
    rank: 'time_step_rank',
    convWidth: 'conv_kernel',
    convBias: 'use_conv_bias',
    projBias: 'use_bias',
  };
  const mixer = mamba1Mixer(r, base, keys, base.intermediateSize, norm);
  return { ...base, layer: alone(mixer) };
}

/** `auto` stands for a sixteenth of the width. */
function timeRank(r: ConfigReader, key: string, nEmbd: number): number {
  return r.isString(key) && r.string(key) === 'auto' ? Math.ceil(nEmbd / 16) : r.int(key, Math.ceil(nEmbd / 16));
}

export const mamba: Family = {
  modelTypes: ['mamba'],
  config: (r) => mambaConfig(r, null),
  tensors: backbone(ssmTensors('backbone.layers.{l}.mixer')),
  prefixes: ['backbone.'],
};

export const falconMamba: Family = {
  modelTypes: ['falcon_mamba'],
  config: (r) => {
    const eps = r.epsilon('mixer_rms_eps', 1e-6);
    return mambaConfig(r, { kind: 'rms', eps, affine: false, bias: false, unitOffset: false });
  },
  tensors: mamba.tensors,
  prefixes: ['backbone.'],
};

const JAMBA_KEYS: Mamba1Keys = {
  stateSize: 'mamba_d_state',
  rank: 'mamba_dt_rank',
  convWidth: 'mamba_d_conv',
  convBias: 'mamba_conv_bias',
  projBias: 'mamba_proj_bias',
};

export const jamba: Family = {
  modelTypes: ['jamba'],
  config: (r) => {
    const base = readBase(r, { rope: null, nQueryGroups: 8 });
    const [period, offset] = [r.int('attn_layer_period', 8), r.int('attn_layer_offset', 4, 0)];
    const [every, first] = [r.int('expert_layer_period', 2), r.int('expert_layer_offset', 1, 0)];
    const { count, perToken } = expertCount(r, 'num_experts', 'num_experts_per_tok', [16, 2]);
    skipInitialization(r);
    r.skip('num_logits_to_keep');
    const mixer = mamba1Mixer(r, base, JAMBA_KEYS, r.int('mamba_expand', 2) * base.nEmbd, base.norm);
    const mlp = mixture(base, { router: router(perToken), experts: { count, size: base.intermediateSize } });
    const layer = (spec: LayerSpec, l: number): LayerSpec => ({
      ...spec,
      mixer: l % period === offset ? spec.mixer : mixer,
      mlp: count > 1 && l % every === first ? mlp : spec.mlp,
    });
    return { ...base, layer };
  },
  tensors: llamaTensors({
    ...ssmTensors('model.layers.{l}.mamba'),
    'h.{l}.ssm.dt_norm': 'model.layers.{l}.mamba.dt_layernorm',
    'h.{l}.ssm.b_norm': 'model.layers.{l}.mamba.b_layernorm',
    'h.{l}.ssm.c_norm': 'model.layers.{l}.mamba.c_layernorm',
    'h.{l}.norm_2': 'model.layers.{l}.pre_ff_layernorm',
    'h.{l}.mlp.fc_1': 'model.layers.{l}.feed_forward.gate_proj',
    'h.{l}.mlp.fc_2': 'model.layers.{l}.feed_forward.up_proj',
    'h.{l}.mlp.proj': 'model.layers.{l}.feed_forward.down_proj',
    'h.{l}.mlp.gate': 'model.layers.{l}.feed_forward.router',
    ...expertTensors(
      'model.layers.{l}.feed_forward.experts.{e}.gate_proj',
      'model.layers.{l}.feed_forward.experts.{e}.up_proj',
      'model.layers.{l}.feed_forward.experts.{e}.down_proj',
    ),
    ln_f: 'model.final_layernorm',
  }),
};

/** Keys of a Mamba-2 layer, which differ by family. */
interface Mamba2Keys {
  readonly heads: string;
  readonly headSize: string;
  readonly groups: string;
  readonly stateSize: string;
  readonly convWidth: string;
  readonly convBias: string;
  readonly projBias: string;
}

/**
 * @param normGroups groups of channels that are normalized by themselves: those of the states, as mamba_ssm does, or
 * one.
 */
export function mamba2Mixer(
  r: ConfigReader,
  base: FamilyConfig,
  keys: Mamba2Keys,
  normGroups: 'one' | 'each' = 'each',
): Mamba2 {
  const heads = r.int(keys.heads, 128);
  const groups = r.int(keys.groups, 1);
  if (heads % groups !== 0) r.fail(keys.groups, `is ${groups}, which does not divide the ${heads} heads`);
  // "auto": the width is twice the model's.
  const headSize = r.isString(keys.headSize) ? Math.floor((2 * base.nEmbd) / heads) : r.int(keys.headSize, 64);
  return {
    kind: 'mamba-2',
    heads,
    headSize,
    groups,
    stateSize: r.int(keys.stateSize, 128),
    convWidth: r.int(keys.convWidth, 4, 2, 64),
    bias: { conv: r.bool(keys.convBias, true), proj: r.bool(keys.projBias, false) },
    timeLimit: timeLimit(r),
    norm: { ...base.norm, place: 'after-gate', groups: normGroups === 'each' ? groups : 1 },
  };
}

/** `time_step_limit`, whose end may be written as `{"__float__": "Infinity"}`. */
function timeLimit(r: ConfigReader): readonly [number, number] {
  if (!r.has('time_step_limit')) return [0, Number.POSITIVE_INFINITY];
  const list = r.list('time_step_limit').map((value) => {
    const named = typeof value === 'object' && value !== null ? (value as Record<string, unknown>).__float__ : value;
    return named === 'Infinity' ? Number.POSITIVE_INFINITY : named;
  });
  const [low, high] = list;
  if (list.length !== 2 || typeof low !== 'number' || typeof high !== 'number' || !(low >= 0 && high > low))
    r.fail('time_step_limit', 'must be two numbers, the smaller first');
  return [low as number, high as number];
}

/** Keys of configs that write `mamba_…`. */
export const MAMBA_KEYS: Mamba2Keys = {
  heads: 'mamba_n_heads',
  headSize: 'mamba_d_head',
  groups: 'mamba_n_groups',
  stateSize: 'mamba_d_state',
  convWidth: 'mamba_d_conv',
  convBias: 'mamba_conv_bias',
  projBias: 'mamba_proj_bias',
};

/**
 * Whether the model was made by a transformers that normalizes all channels together: 5.22 and older. mamba_ssm and
 * transformers 5.23 and newer normalize each group. A config that states `norm_before_gate` or `rms_norm` comes from
 * mamba_ssm's options (Codestral Mamba, whatever saved it last); transformers 5.18 writes neither.
 */
function isNormalizedWhole(r: ConfigReader): boolean {
  if (r.has('norm_before_gate') || r.has('rms_norm') || !r.isString('transformers_version')) return false;
  const version = /^5\.(\d+)\./.exec(r.string('transformers_version'));
  return version !== null && Number(version[1]) < 23;
}

export const mamba2: Family = {
  modelTypes: ['mamba2'],
  config: (r) => {
    const base = readBase(r, STATES_ONLY);
    skipInitialization(r);
    r.skip('expand', 'time_step_rank');
    const keys: Mamba2Keys = {
      heads: 'num_heads',
      headSize: 'head_dim',
      groups: 'n_groups',
      stateSize: 'state_size',
      convWidth: 'conv_kernel',
      convBias: 'use_conv_bias',
      projBias: 'use_bias',
    };
    const mixer = mamba2Mixer(r, base, keys, isNormalizedWhole(r) ? 'one' : 'each');
    r.refuse('rms_norm', 'only true is supported', [true]);
    r.refuse('norm_before_gate', 'only true is supported', [true]);
    return { ...base, layer: alone(mixer) };
  },
  tensors: mamba.tensors,
  prefixes: ['backbone.'],
};

export const bamba: Family = {
  modelTypes: ['bamba'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, nQueryGroups: 8, rope: { fraction: 0.5 } });
    skipInitialization(r);
    r.skip('attn_rotary_emb', 'num_logits_to_keep', 'z_loss_coefficient', 'mamba_chunk_size', 'mamba_expand');
    const attends = r.has('attn_layer_indices') ? r.numbers('attn_layer_indices') : [];
    const mixer = mamba2Mixer(r, base, MAMBA_KEYS);
    r.refuse('attention_bias', 'biases are not supported in this family');
    return {
      ...base,
      ...ropeOn(base, (l) => attends.includes(l)),
      mlpBias: r.bool('mlp_bias', false),
      layer: (layer, l) => (attends.includes(l) ? layer : { ...layer, mixer }),
    };
  },
  tensors: llamaTensors({
    ...ssmTensors('model.layers.{l}.mamba'),
    'h.{l}.norm_2': 'model.layers.{l}.pre_ff_layernorm',
    'h.{l}.mlp.fc_1': 'model.layers.{l}.feed_forward.gate_proj',
    'h.{l}.mlp.fc_2': 'model.layers.{l}.feed_forward.up_proj',
    'h.{l}.mlp.proj': 'model.layers.{l}.feed_forward.down_proj',
    ln_f: 'model.final_layernorm',
  }),
};
