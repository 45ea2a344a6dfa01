import { describe, expect, it } from 'vitest';
import { type ConfigJson, configJson } from '../../test/support/family-cases.ts';
import type { Mamba2, SelfAttention } from '../config/layer-spec.ts';
import { paramsOf } from '../load/model-plan.ts';
import { FURTHER } from '../model/further.ts';
import { readConfig } from './read-config.ts';

// Configs are traced as they are, without a plan.

const read = (name: string, changes: ConfigJson = {}) => readConfig({ ...configJson(name), ...changes }).config;
const windows = (name: string, changes?: ConfigJson) =>
  read(name, changes).layers.map(({ mixer }) => (mixer as SelfAttention).window);
const ropes = (name: string, changes?: ConfigJson) => read(name, changes).layers.map(({ rope }) => rope);

describe('layers that rotate nothing', () => {
  it('are listed, or one in so many', () => {
    expect(ropes('smollm3')).toEqual([0, 0, null, 0]);
    expect(ropes('smollm3', { no_rope_layers: null })).toEqual([0, 0, 0, null]);
    expect(ropes('smollm3', { no_rope_layers: null, no_rope_layer_interval: 2 })).toEqual([0, null, 0, null]);
  });

  it('have a window where the file asks for it', () => {
    const sliding = { use_sliding_window: true, sliding_window: 8 };
    expect(windows('smollm3', { ...sliding, layer_types: null })).toEqual([null, null, 8, null]);
    expect(windows('smollm3', { sliding_window: 8 })).toEqual([null, null, null, null]);
  });

  it('are the full ones of exaone4, unless all are full', () => {
    expect(ropes('exaone4')).toEqual([0, 0, 0, null]);
    const none = { sliding_window: null, sliding_window_pattern: null };
    expect(ropes('exaone4', none)).toEqual([0, 0, 0, 0]);
    expect(windows('exaone4', none)).toEqual([null, null, null, null]);
    expect(windows('exaone4', { layer_types: null, sliding_window_pattern: 'LG' })).toEqual([8, null, 8, null]);
    expect(windows('exaone4', { layer_types: null, sliding_window_pattern: 2 })).toEqual([8, null, 8, null]);
  });

  it('are all of granite 4 where its file says nope', () => {
    const none = read('granitemoehybrid-dense', { position_embedding_type: 'nope' });
    expect(none).toMatchObject({ position: 'none', ropes: [] });
    expect(none.layers.every(({ rope }) => rope === null)).toBe(true);
    expect(read('granitemoehybrid-dense', { position_embedding_type: null }).position).toBe('none');
  });
});

describe('rotations by type of layer', () => {
  const yarn = { rope_type: 'yarn', factor: 8, original_max_position_embeddings: 16 };

  it('of old keys scale the full layers alone', () => {
    const old = { rope_parameters: null, rope_theta: 5e5, rope_scaling: yarn };
    expect(ropes('olmo3', old)).toEqual([1, 1, 1, 0]);
    expect(read('olmo3', old).ropes).toMatchObject([
      { base: 5e5, scaling: { type: 'yarn', factor: 8 } },
      { base: 5e5, scaling: { type: 'none' } },
    ]);
  });

  it('are one where both are the same', () => {
    expect(read('olmo3').ropes).toHaveLength(1);
    expect(ropes('olmo3')).toEqual([0, 0, 0, 0]);
  });

  it('are each stated by nested keys', () => {
    const nested = {
      full_attention: { ...yarn, rope_theta: 5e5 },
      sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
    };
    expect(read('olmo3', { rope_parameters: nested }).ropes).toMatchObject([{ base: 5e5 }, { base: 1e4 }]);
  });
});

describe('keys of rope_scaling that change nothing', () => {
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 };
  const scaling = (rope_scaling: ConfigJson) => read('llama', { rope_scaling }).ropes[0].scaling;

  it.each<[string, ConfigJson, ConfigJson]>([
    ['attn_factor of DeepSeek-R1-0528-Qwen3-8B', { ...yarn, attn_factor: 0.8782488562869419 }, yarn],
    ['finetuned of Yarn-Llama-2', { ...yarn, finetuned: true }, yarn],
    ['an mscale_all_dim of 0', { ...yarn, mscale: 1, mscale_all_dim: 0 }, yarn],
    ['a factor of the default', { rope_type: 'default', factor: 1 }, { rope_type: 'default' }],
    [
      'the original length of dynamic',
      { type: 'dynamic', factor: 2, original_max_position_embeddings: 64 },
      { type: 'dynamic', factor: 2 },
    ],
  ])('%s', (_, stated, plain) => {
    expect(scaling(stated)).toEqual(scaling(plain));
  });

  it('are not all keys', () => {
    expect(() => scaling({ ...yarn, beta_middle: 3 })).toThrow(/rope_scaling.beta_middle/);
  });
});

describe('classic decoders', () => {
  it('gpt_neo has the short form of its pattern', () => {
    expect(windows('gpt_neo', { attention_layers: null })).toEqual([null, 8, null, 8]);
    expect(
      windows('gpt_neo', {
        attention_layers: null,
        attention_types: [
          [['global'], 1],
          [['local'], 3],
        ],
      }),
    ).toEqual([null, 8, 8, 8]);
  });

  it('gpt_bigcode has one key for all heads, or one for each', () => {
    expect(read('gpt_bigcode').layers[0].mixer).toMatchObject({ heads: 4, groups: 1 });
    expect(read('gpt_bigcode', { multi_query: false }).layers[0].mixer).toMatchObject({ heads: 4, groups: 4 });
  });

  it('mpt states its own scale', () => {
    const attn_config = { ...(configJson('mpt').attn_config as ConfigJson), softmax_scale: 0.5, clip_qkv: 6 };
    expect(read('mpt', { attn_config }).layers[0].mixer).toMatchObject({ scale: 0.5, clip: { limit: 6 } });
  });
});

describe('gemma4', () => {
  const sizes = (name: string, changes?: ConfigJson) =>
    read(name, changes).layers.map(({ mixer }) => {
      const { keySize, groups } = mixer as SelfAttention;
      return [keySize, groups];
    });

  it('has heads of a size for each type of layer, stated by layer or for all', () => {
    const expected = [8, 16, 8, 16, 8, 16].map((size) => [size, size === 8 ? 2 : 1]);
    expect(sizes('gemma4-31b')).toEqual(expected);
    const stated = { per_layer_config: null, global_head_dim: 16, num_global_key_value_heads: 1 };
    expect(sizes('gemma4-31b', stated)).toEqual(expected);
  });

  it('reads keys and values of the last layer of the same type', () => {
    const sourcesOf = (shared: number) =>
      read('gemma4-e2b', { num_kv_shared_layers: shared }).layers.map(({ mixer }) =>
        mixer?.kind === 'shared-attention' ? mixer.source : null,
      );
    expect(sourcesOf(2)).toEqual([null, null, null, null, 2, 3]);
    expect(sourcesOf(3)).toEqual([null, null, null, 1, 2, 1]);
    expect(sourcesOf(0)).toEqual(new Array(6).fill(null));
  });

  it('finds a layer whose number is padded with zeros', () => {
    const full = { head_dim: 16, num_key_value_heads: 1 };
    const padded = { '01': full, '03': full, '05': full };
    expect(read('gemma4-31b', { per_layer_config: padded })).toEqual(read('gemma4-31b'));
    expect(() => read('gemma4-31b', { per_layer_config: { ...padded, '07': full } })).toThrow(/per_layer_config.07/);
  });

  it('keeps its table of layers in the format of the other matrices, which is most of a small model', () => {
    for (const format of ['int4', 'int8'] as const) {
      const table = paramsOf({ config: read('gemma4-multimodal'), format, parts: FURTHER }).find(
        ({ name }) => name === 'wte_layers.weight',
      );
      expect(table).toMatchObject({ role: 'embedding', format, shape: [97, 64] });
    }
  });

  it('has experts beside the MLP', () => {
    const { layers } = read('gemma4-26b');
    expect(layers[1].mlp).toMatchObject({
      kind: 'moe',
      router: { perToken: 2, normP: 1, expertScale: true },
      experts: { count: 4, size: 24, activation: 'gelu-tanh' },
      shared: { size: 40, gate: false, norms: { kind: 'rms' } },
    });
    const shared = { num_kv_shared_layers: 2, use_double_wide_mlp: true };
    const widths = read('gemma4-26b', shared).layers.map(({ mlp }) => mlp?.kind === 'moe' && mlp.shared?.size);
    expect(widths).toEqual([40, 40, 40, 40, 80, 80]);
  });

  it('rotates the first pairs of full layers, with the exponents of all', () => {
    expect(read('gemma4-31b').ropes).toMatchObject([
      { base: 1e6, nElem: 16, scaling: { type: 'proportional', pairs: 2 } },
      { base: 1e4, nElem: 8, scaling: { type: 'none' } },
    ]);
  });
});

describe('gemma3n', () => {
  it('has the defaults of its class', () => {
    const json = { model_type: 'gemma3n_text', vocab_size: 262_400, hidden_size: 2048, num_attention_heads: 8 };
    const { config } = readConfig(json);
    expect(config).toMatchObject({ nLayer: 35, altUp: { count: 4, scalesFirst: true }, finalLogitSoftcapping: 30 });
    const { layers } = config;
    expect(layers.map(({ mixer }) => (mixer as SelfAttention).window)).toEqual(
      layers.map((_, l) => ((l + 1) % 5 === 0 ? null : 512)),
    );
    const shared = layers.flatMap(({ mixer }) => (mixer?.kind === 'shared-attention' ? [mixer.source] : []));
    expect([shared.length, new Set(shared)]).toEqual([15, new Set([18, 19])]);
    expect(layers.filter(({ mlp }) => mlp?.kind === 'gated' && mlp.sparsity === 0.95)).toHaveLength(10);
    expect(config.ropes.map(({ base }) => base)).toEqual([1e6, 1e4]);
  });

  it('has MLPs of several widths, and a cap of logits only where the file does not say null', () => {
    const widths = [40, 40, 48, 40, 40, 40];
    const { layers } = read('gemma3n', { intermediate_size: widths });
    expect(layers.map(({ mlp }) => mlp?.kind === 'gated' && mlp.size)).toEqual(widths);
    expect(read('gemma3n', { final_logit_softcapping: null }).finalLogitSoftcapping).toBeNull();
    expect(() => read('gemma3n', { intermediate_size: [40] })).toThrow(/intermediate_size must have 6 entries/);
  });
});

describe('the norm in a Mamba-2 mixer', () => {
  const normGroups = (name: string, changes: ConfigJson) =>
    read(name, changes).layers.flatMap(({ mixer }) => (mixer?.kind === 'mamba-2' ? [mixer.norm?.groups] : []));

  it('is one for each group of bamba and granitemoehybrid', () => {
    expect(new Set(normGroups('bamba', { mamba_n_groups: 2 }))).toEqual(new Set([2]));
    expect(new Set(normGroups('granitemoehybrid', { mamba_n_groups: 2 }))).toEqual(new Set([2]));
    expect(new Set(normGroups('bamba', {}))).toEqual(new Set([1]));
  });
});

it('gpt_oss may state the factor of its gate, and no other', () => {
  expect(read('gpt_oss', { swiglu_alpha: 1.702 })).toEqual(read('gpt_oss'));
  expect(() => read('gpt_oss', { swiglu_alpha: 1.5 })).toThrow(/swiglu_alpha is 1.5: only 1.702 is supported/);
});

describe('the norm of mamba2', () => {
  const groups = (changes: ConfigJson) => (read('mamba2', changes).layers[0].mixer as Mamba2).norm?.groups;

  it('is of each group, but of all channels in a model that an old transformers made', () => {
    expect(groups({ transformers_version: '5.18.0' })).toBe(1);
    expect(groups({ transformers_version: '5.22.1' })).toBe(1);
    expect(groups({ transformers_version: '5.23.0' })).toBe(2);
    expect(groups({ transformers_version: '6.0.0' })).toBe(2);
    expect(groups({ transformers_version: '4.44.0.dev0' })).toBe(2);
    expect(groups({ transformers_version: null })).toBe(2);
    // Codestral Mamba, saved again.
    expect(groups({ transformers_version: '5.18.0', norm_before_gate: true, rms_norm: true })).toBe(2);
  });
});
