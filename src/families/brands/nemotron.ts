/**
 * @file NVIDIA's nemotron and nemotron_h. Reference: transformers models of these names.
 */
import type { LayerSpec } from '../../config/layer-spec.ts';
import type { MlpSpec } from '../../config/mlp-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, llamaTensors, plainMlpTensors } from '../family.ts';
import { deepseekMixture, ignoreLayersBehind } from '../mixture.ts';
import { attnBias, readBase, ungatedMlp } from '../read-base.ts';
import { backbone, mamba2Mixer, skipInitialization, ssmTensors } from './mamba.ts';

export const nemotron: Family = {
  modelTypes: ['nemotron'],
  config: (r) => {
    const base = readBase(r, {
      keys: { normEps: ['norm_eps'] },
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true, unitOffset: true },
      activation: 'relu2',
      rope: { fraction: 0.5, fractionKeys: ['partial_rotary_factor', 'rope_percent'] },
    });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...ungatedMlp(base, r.bool('mlp_bias', false)) };
  },
  tensors: llamaTensors(plainMlpTensors('model.layers.{l}.mlp.up_proj', 'model.layers.{l}.mlp.down_proj')),
};

type Branch = 'mamba' | 'attention' | 'mlp' | 'moe';
const LETTERS: Readonly<Record<string, Branch>> = { M: 'mamba', '*': 'attention', '-': 'mlp', E: 'moe' };
const BRANCHES: Readonly<Record<string, Branch>> = {
  linear_attention: 'mamba',
  mamba: 'mamba',
  full_attention: 'attention',
  attention: 'attention',
  mlp: 'mlp',
  moe: 'moe',
};

/** Each layer is one norm and one branch. */
function branches(r: ConfigReader): Branch[] {
  const key = r.has('layers_block_type') ? 'layers_block_type' : 'hybrid_override_pattern';
  const [names, known] = key === 'layers_block_type' ? [r.strings(key)!, BRANCHES] : [[...r.string(key)], LETTERS];
  r.skip('hybrid_override_pattern', 'num_hidden_layers'); // the pattern counts
  return names.map((name) =>
    Object.hasOwn(known, name)
      ? known[name]
      : r.fail(key, `names "${name}"; known are ${Object.keys(known).join(', ')}`),
  );
}

const nemotronMixer = 'backbone.layers.{l}.mixer';

/** NVIDIA's Nemotron-H (arXiv 2504.03624), Nemotron Nano 2 and 3. */
export const nemotronH: Family = {
  modelTypes: ['nemotron_h'],
  config: (r) => {
    const kinds = branches(r);
    const base = readBase(r, {
      keys: {
        normEps: ['layer_norm_epsilon', 'norm_eps', 'rms_norm_eps'],
        headSize: ['head_dim', 'attention_head_dim'],
        activation: ['mlp_hidden_act'],
        nLayer: [],
      },
      nLayer: kinds.length,
      normEps: 1e-5,
      headSize: 128,
      nQueryGroups: 8,
      activation: 'relu2',
      rope: null,
    });
    skipInitialization(r);
    r.skip(
      'expand',
      'mamba_ssm_cache_dtype',
      'mtp_layers_block_type',
      'mtp_hybrid_override_pattern',
      'num_logits_to_keep',
      'sliding_window',
      'moe_shared_expert_overlap',
    );
    r.refuse('mamba_hidden_act', 'only "silu" is supported', ['silu']);
    for (const key of ['attention_bias', 'use_bias']) r.refuse(key, 'biases are not supported in this family');
    // NVIDIA's own code bounds steps by time_step_limit alone; transformers 5.18 to 5.24 also by time_step_min
    // (https://github.com/huggingface/transformers/pull/48989).
    const mixer = mamba2Mixer(r, base, {
      heads: 'mamba_num_heads',
      headSize: 'mamba_head_dim',
      groups: 'n_groups',
      stateSize: 'ssm_state_size',
      convWidth: 'conv_kernel',
      convBias: 'use_conv_bias',
      projBias: 'mamba_proj_bias',
    });
    const { mlp: routed } = deepseekMixture(r, base, 'sigmoid').layer!({} as LayerSpec, 0);
    const shared = r.intOrNull('moe_shared_expert_intermediate_size');
    const moe: MlpSpec | null =
      routed?.kind === 'moe'
        ? {
            ...routed,
            experts: { ...routed.experts, gated: false, latent: r.intOrNull('moe_latent_size') },
            shared: routed.shared && { ...routed.shared, size: shared ?? routed.shared.size },
          }
        : null;
    const plain: MlpSpec = {
      kind: 'plain',
      size: base.intermediateSize,
      bias: r.bool('mlp_bias', false),
      activation: base.activation,
    };
    const layer = (spec: LayerSpec, l: number): LayerSpec => {
      const kind = kinds[l];
      if (kind === 'mlp' || kind === 'moe') return { ...spec, mixer: null, mlp: kind === 'moe' ? moe : plain };
      return { ...spec, mixer: kind === 'mamba' ? mixer : spec.mixer, mlp: null };
    };
    return { ...base, layer };
  },
  tensors: backbone({
    ...ssmTensors(nemotronMixer),
    'h.{l}.norm_2': 'backbone.layers.{l}.norm',
    'h.{l}.attn.q': `${nemotronMixer}.q_proj`,
    'h.{l}.attn.k': `${nemotronMixer}.k_proj`,
    'h.{l}.attn.v': `${nemotronMixer}.v_proj`,
    'h.{l}.attn.proj': `${nemotronMixer}.o_proj`,
    'h.{l}.mlp.fc': `${nemotronMixer}.up_proj`,
    'h.{l}.mlp.proj': `${nemotronMixer}.down_proj`,
    'h.{l}.mlp.gate': `${nemotronMixer}.gate`,
    'h.{l}.mlp.choice_bias': { bare: `${nemotronMixer}.gate.e_score_correction_bias` },
    'h.{l}.mlp.experts.{e}.fc': `${nemotronMixer}.experts.{e}.up_proj`,
    'h.{l}.mlp.experts.{e}.proj': `${nemotronMixer}.experts.{e}.down_proj`,
    'h.{l}.mlp.latent_in': `${nemotronMixer}.fc1_latent_proj`,
    'h.{l}.mlp.latent_out': `${nemotronMixer}.fc2_latent_proj`,
    'h.{l}.mlp.shared.fc': `${nemotronMixer}.shared_experts.up_proj`,
    'h.{l}.mlp.shared.proj': `${nemotronMixer}.shared_experts.down_proj`,
  }),
  prefixes: ['backbone.'],
  ignore: [ignoreLayersBehind],
};
