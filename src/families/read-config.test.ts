import { describe, expect, it } from 'vitest';
import { CASES, type ConfigJson, configJson, newConfigJson } from '../../test/support/family-cases.ts';
import { PUBLISHED } from '../../test/support/published-configs.ts';
import { ConfigError } from '../util/errors.ts';
import { readConfig, readFamilyConfig } from './read-config.ts';

/** A small config.json of a family, changed; undefined takes a key away. */
function changed(name: string, changes: ConfigJson): ConfigJson {
  const json = { ...configJson(name), ...changes };
  for (const [key, value] of Object.entries(changes)) if (value === undefined) delete json[key];
  return json;
}

function refusal(json: ConfigJson): string {
  try {
    readConfig(json, 'here/config.json');
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('the config was read');
}

describe('old and new keys', () => {
  /** The two versions of transformers that made the files differ in these families' default base. */
  const OTHER_BASE = ['cohere', 'cohere-qknorm', 'persimmon', 'persimmon-odd'];

  it.each(CASES)('say the same of %s', (name) => {
    const old = readConfig(configJson(name)).config;
    const json = newConfigJson(name);
    if (OTHER_BASE.includes(name))
      json.rope_parameters = { ...(json.rope_parameters as object), rope_theta: old.ropes[0].base };
    const fresh = readConfig(json).config;
    expect(fresh).toEqual(old);
    expect(old.name).toBe(json.model_type);
  });

  it('of which the new ones count', () => {
    const scaling = { rope_type: 'linear', factor: 2 };
    const json = changed('llama', {
      rope_theta: 5,
      rope_scaling: { rope_type: 'linear', factor: 3 },
      rope_parameters: { ...scaling, rope_theta: 7 },
    });
    expect(readConfig(json).config.ropes).toEqual([
      { base: 7, nElem: 8, interleave: false, scaling: { type: 'linear', factor: 2 } },
    ]);
  });

  it('give each kind of layer its own rotation where they are nested', () => {
    const json = newConfigJson('gemma3');
    json.rope_parameters = {
      full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1e6 },
      sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
    };
    expect(readConfig(json).config.ropes).toMatchObject([
      { base: 1e6, scaling: { type: 'linear', factor: 8 } },
      { base: 1e4, scaling: { type: 'none' } },
    ]);
  });

  it('that scale a rotation leave the sliding layers of gemma3 alone', () => {
    const json = changed('gemma3', { rope_scaling: { rope_type: 'linear', factor: 8 } });
    expect(readConfig(json).config.ropes).toMatchObject([
      { base: 1e5, scaling: { type: 'linear', factor: 8 } },
      { base: 5e3, scaling: { type: 'none' } },
    ]);
  });
});

describe('published files', () => {
  it.each(Object.keys(PUBLISHED))('%s', (name) => {
    const { json, expected } = PUBLISHED[name];
    const { said } = readFamilyConfig(structuredClone(json));
    for (const [key, value] of Object.entries(expected)) expect(said, key).toHaveProperty(key, value);
  });

  it('are not changed by reading', () => {
    for (const { json } of Object.values(PUBLISHED)) {
      const before = JSON.stringify(json);
      readConfig(json);
      expect(JSON.stringify(json)).toBe(before);
    }
  });
});

describe('what files leave out', () => {
  const read = (name: string, changes: ConfigJson) => readFamilyConfig(changed(name, changes)).said;

  it('is the family’s default', () => {
    expect(read('gemma2', { attn_logit_softcapping: undefined }).attentionLogitSoftcapping).toBe(50);
    expect(read('gemma2', { final_logit_softcapping: undefined }).finalLogitSoftcapping).toBe(30);
    expect(read('gemma3', { attn_logit_softcapping: undefined }).attentionLogitSoftcapping).toBeNull();
    expect(read('mistral', { sliding_window: undefined }).slidingWindowSize).toBe(4096);
    expect(read('qwen2-window', { sliding_window: undefined }).slidingWindowSize).toBe(4096);
    const silent = { use_sliding_window: undefined, sliding_window: 4 };
    expect(read('qwen2-window', silent).slidingWindowSize).toBeNull();
    expect(read('persimmon', { rope_theta: undefined }).ropes[0].base).toBe(25_000);
    expect(read('mixtral', { rope_theta: undefined }).ropes[0].base).toBe(1e6);
    expect(read('gpt_neox', { rotary_pct: undefined, partial_rotary_factor: undefined }).ropes[0].nElem).toBe(2);
    expect(read('nemotron', { num_key_value_heads: undefined }).nQueryGroups).toBe(4);
    expect(read('gemma', { tie_word_embeddings: undefined }).tieEmbeddings).toBe(true);
    expect(read('llama', { tie_word_embeddings: undefined }).tieEmbeddings).toBe(false);
    const ffn = { ...(configJson('dbrx').ffn_config as object), moe_normalize_expert_weights: undefined };
    expect(read('dbrx', { ffn_config: JSON.parse(JSON.stringify(ffn)) }).moe?.normP).toBe(1);
  });

  it('is something else than null', () => {
    expect(read('gemma2', { attn_logit_softcapping: null }).attentionLogitSoftcapping).toBeNull();
    expect(read('gemma2', { final_logit_softcapping: null }).finalLogitSoftcapping).toBeNull();
    expect(read('mistral', { sliding_window: null }).slidingWindowSize).toBeNull();
    const ffn = { ...(configJson('dbrx').ffn_config as object), moe_normalize_expert_weights: null };
    expect(read('dbrx', { ffn_config: ffn }).moe?.normP).toBeNull();
    expect(read('gptj', { rotary_dim: null }).ropes[0].nElem).toBe(8);
  });

  it('decides everything that depends on it', () => {
    const { headSize, attentionScale, ropes } = read('qwen3', { head_dim: undefined });
    expect({ headSize, attentionScale }).toEqual({ headSize: 128, attentionScale: 128 ** -0.5 });
    expect(ropes[0].nElem).toBe(128);
  });

  it('may be a window of layers', () => {
    expect(read('qwen2', { use_sliding_window: false, sliding_window: 0 }).slidingWindowSize).toBeNull();
    const all = { use_sliding_window: true, sliding_window: 4, num_hidden_layers: 4 };
    expect(read('qwen2', { ...all, max_window_layers: 3, layer_types: undefined }).slidingWindowIndices).toEqual(
      [0, 1, 2, 3].map((l) => l >= 3),
    );
    const types = ['sliding_attention', 'full_attention', 'full_attention', 'sliding_attention'];
    expect(read('qwen2', { ...all, max_window_layers: 3, layer_types: types }).slidingWindowIndices).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });
});

describe('the message', () => {
  // What is changed in llama's file, and what the message must say besides the file's name.
  it.each<[string, ConfigJson, RegExp]>([
    ['missing', { hidden_size: undefined }, /hidden_size is missing; take the file that belongs to the weights/],
    ['null', { hidden_size: null }, /hidden_size is missing/],
    ['a missing model_type', { model_type: undefined }, /model_type is missing/],
    ['a model_type of another type', { model_type: 7 }, /model_type must be a string, but is 7/],
    ['a string', { hidden_size: '32' }, /hidden_size must be a whole number from 1 to \d+, but is "32"/],
    ['the text NaN', { rms_norm_eps: 'NaN' }, /rms_norm_eps must be a number, but is "NaN"/],
    ['NaN', { rms_norm_eps: Number.NaN }, /rms_norm_eps must be a number, but is null/],
    ['an infinite number', { rope_theta: Number.POSITIVE_INFINITY }, /rope_theta must be a number/],
    ['a list', { num_attention_heads: [4] }, /num_attention_heads must be a whole number .* but is \[4\]/],
    ['a boolean', { num_hidden_layers: true }, /num_hidden_layers must be a whole number .* but is true/],
    ['a fraction', { num_hidden_layers: 1.5 }, /num_hidden_layers must be a whole number .* but is 1.5/],
    ['no heads', { num_attention_heads: 0 }, /num_attention_heads must be a whole number from 1/],
    ['no vocabulary', { vocab_size: 0 }, /vocab_size must be a whole number from 1/],
    ['negative layers', { num_hidden_layers: -2 }, /num_hidden_layers must be a whole number from 1/],
    ['10^12 layers', { num_hidden_layers: 1e12 }, /num_hidden_layers must be a whole number from 1 to 1024/],
    ['a huge vocabulary', { vocab_size: 2 ** 40 }, /vocab_size must be a whole number from 1 to 8388608/],
    ['unsafe numbers', { vocab_size: 2 ** 60 }, /vocab_size must be a whole number/],
    [
      'heads that do not divide',
      { num_attention_heads: 5, head_dim: undefined, num_key_value_heads: 5 },
      /num_attention_heads is 5, which does not divide the width 32/,
    ],
    [
      'groups that do not divide',
      { num_key_value_heads: 3 },
      /num_key_value_heads is 3, which does not divide the 4 heads/,
    ],
    [
      'more groups than heads',
      { num_key_value_heads: 8 },
      /num_key_value_heads is 8, which does not divide the 4 heads/,
    ],
    [
      'a number that float32 does not hold',
      { rope_theta: 1e300 },
      /rope_theta must be a number that a float32 can hold, but is 1e\+300/,
    ],
    ['an epsilon above 1', { rms_norm_eps: 2 ** 31 }, /rms_norm_eps must be 1 at most, but is 2147483648/],
    ['an epsilon of 0', { rms_norm_eps: 0 }, /rms_norm_eps must be above 0/],
    ['a negative base', { rope_theta: -1 }, /rope_theta must be above 0/],
    ['a flag as text', { attention_bias: 'false' }, /attention_bias must be true or false, but is "false"/],
    ['an activation', { hidden_act: 'swoosh' }, /hidden_act is "swoosh", which is not known; known are silu, /],
    ['a key of Object’s', { hidden_act: 'constructor' }, /hidden_act is "constructor", which is not known/],
    [
      'an unknown model_type',
      { model_type: 'nonesuch' },
      /model_type is "nonesuch", which is not a known family; docs\/families\.md .* lists all/,
    ],
    [
      'a model_type that is nearly one',
      { model_type: 'lama' },
      /model_type is "lama", which is not a known family; the nearest are llama(, [\w-]+){0,2}; docs/,
    ],
    ['an inherited model_type', { model_type: '__proto__' }, /model_type is "__proto__", which is not a known family/],
    [
      'quantized weights',
      { quantization_config: { quant_method: 'gptq' } },
      /quantization_config is .*gptq.*: .*use the original weights/,
    ],
    [
      'unknown keys',
      { use_magic: true, magic: [1] },
      /use_magic = true, magic = \[1\]: not known to the family llama, .*take out what is known to change nothing/,
    ],
    ['an eos outside', { eos_token_id: 97 }, /eos_token_id 97 is not in the vocabulary of 97/],
    ['an eos as text', { eos_token_id: '</s>' }, /eos_token_id must be a token id or a list of them/],
    [
      'a partial rotation',
      { partial_rotary_factor: 0.5 },
      /partial_rotary_factor is 0.5, but this family rotates whole heads/,
    ],
    ['a scaling as text', { rope_scaling: 'linear' }, /rope_scaling must be an object, but is "linear"/],
    [
      'a scaling of unknown type',
      { rope_scaling: { rope_type: 'ntk' } },
      /rope_scaling: rope_type is "ntk", which is not known; known are default, linear, dynamic, llama3, yarn, longrope/,
    ],
    ['a scaling by its old key', { rope_scaling: { type: 'ntk', factor: 2 } }, /rope_scaling: type is "ntk"/],
    ['a scaling without factor', { rope_scaling: { rope_type: 'linear' } }, /rope_scaling: factor is missing/],
    ['a scaling by 0', { rope_scaling: { rope_type: 'yarn', factor: 0 } }, /rope_scaling: factor must be above 0/],
    [
      'unknown keys of a scaling',
      { rope_scaling: { rope_type: 'linear', factor: 2, twist: 3 } },
      /rope_scaling\.twist = 3: not known/,
    ],
    [
      'frequencies in the wrong order',
      { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 3 } },
      /rope_scaling: high_freq_factor must be at least low_freq_factor 4/,
    ],
    ['new keys of unknown type', { rope_parameters: { rope_type: 'ntk' } }, /rope_parameters: rope_type is "ntk"/],
    [
      'too wide',
      { hidden_size: 2 ** 20, intermediate_size: 2 ** 20, num_hidden_layers: 9 },
      /9 layers of width 1048576 make .* parameters; one of the sizes is wrong/,
    ],
    [
      'heads too wide',
      { num_attention_heads: 8192, num_key_value_heads: 1, head_dim: 65_536, hidden_size: 8 },
      /8192 heads of 65536 are too wide/,
    ],
  ])('names file, key and remedy: %s', (_, changes, message) => {
    const text = refusal(changed('llama', changes));
    expect(text).toMatch(/^here\/config\.json: /);
    expect(text).toMatch(message);
  });

  it.each<[string, string, ConfigJson, RegExp]>([
    ['experts', 'mixtral', { num_local_experts: 1e9 }, /num_local_experts must be a whole number from 1 to 4096/],
    [
      'chosen experts',
      'mixtral',
      { num_experts_per_tok: 5 },
      /num_experts_per_tok must be a whole number from 1 to 4, but is 5/,
    ],
    ['chosen experts', 'aria_text', { moe_topk: 9 }, /moe_topk must be a whole number from 1 to 4, but is 9/],
    ['chosen experts', 'olmoe', { num_experts_per_tok: 5 }, /num_experts_per_tok must be a whole number from 1 to 4/],
    [
      'nested experts',
      'dbrx',
      { ffn_config: { ffn_hidden_size: 40, moe_num_experts: 4, moe_top_k: 5 } },
      /ffn_config: moe_top_k must be a whole number from 1 to 4/,
    ],
    ['a nested width', 'dbrx', { ffn_config: { hidden_size: 33 } }, /ffn_config: hidden_size is 33, but d_model is 32/],
    [
      'many experts on many layers',
      'mixtral',
      { num_local_experts: 4096, num_hidden_layers: 100 },
      /100 layers with 4096 heads or experts each/,
    ],
    [
      'another router',
      'phimoe',
      { num_experts_per_tok: 1 },
      /num_experts_per_tok is 1, but this family's router chooses 2/,
    ],
    ['layer types', 'gemma2', { layer_types: ['full_attention'] }, /layer_types must have 4 entries, but has 1/],
    [
      'a layer type',
      'cohere2',
      { layer_types: ['x', 'x', 'x', 'x'] },
      /layer_types names "x"; known are full_attention and sliding_attention/,
    ],
    ['a window of 0', 'mistral', { sliding_window: 0 }, /sliding_window must be a whole number from 1/],
    [
      'a window of 0 that is used',
      'qwen2-window',
      { sliding_window: 0 },
      /sliding_window must be a whole number from 1/,
    ],
    [
      'too wide a rotation',
      'gptj',
      { rotary_dim: 9 },
      /rotary_dim gives 9 rotary elements, which rotate in pairs and so need 10 dimensions, but a head has 8/,
    ],
    [
      'long factors',
      'phi3-longrope',
      { rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [1, 2, 3, 4] } },
      /rope_scaling: short_factor must have 4 entries, but has 1/,
    ],
    [
      'long factors as text',
      'phi3-longrope',
      { rope_scaling: { type: 'longrope', short_factor: 'no', long_factor: [1, 2, 3, 4] } },
      /rope_scaling: short_factor must be a list/,
    ],
    [
      'scores by layer',
      'gpt2',
      { scale_attn_by_inverse_layer_idx: true },
      /scale_attn_by_inverse_layer_idx is true: .*not supported/,
    ],
    [
      'residuals behind norms',
      'bloom',
      { apply_residual_connection_post_layernorm: true },
      /apply_residual_connection_post_layernorm is true/,
    ],
    [
      'heads not in fours',
      'codegen',
      { n_head: 2, rotary_dim: 4 },
      /n_head is 2, but this family's heads come in four equal parts/,
    ],
    [
      'tied heads',
      'dbrx',
      { tie_word_embeddings: true },
      /tie_word_embeddings is true, which this family does not have/,
    ],
    ['positions', 'granite', { position_embedding_type: 'nope' }, /position_embedding_type must be "rope"/],
    [
      'image tokens',
      'chameleon',
      { vocabulary_map: { IMGIMGA: 4000 } },
      /suppressed token 4000 is not in the vocabulary of 97/,
    ],
    [
      'image tokens as text',
      'chameleon',
      { vocabulary_map: { IMGIMGA: 'a' } },
      /vocabulary_map must be an object of token ids/,
    ],
    ['another norm', 'starcoder2', { norm_type: 'rms' }, /norm_type is "rms": only "layer_norm" is supported/],
    ['another order', 'cohere2', { use_parallel_block: false }, /use_parallel_block is false: only true is supported/],
    ['mixed attention', 'phi3', { full_attn_mod: 2 }, /full_attn_mod is 2: only 1 is supported/],
  ])('names file, key and remedy: %s (%s)', (_, name, changes, message) => {
    const text = refusal(changed(name, changes));
    expect(text).toMatch(/^here\/config\.json: /);
    expect(text).toMatch(message);
  });

  it('does not grow with the value', () => {
    const text = refusal(changed('llama', { hidden_size: 'x'.repeat(10_000), use_magic: 'y'.repeat(10_000) }));
    expect(text.length).toBeLessThan(300);
    expect(refusal(changed('llama', { use_magic: 'y'.repeat(10_000) })).length).toBeLessThan(400);
    expect(refusal(changed('llama', { model_type: 'y'.repeat(10_000) })).length).toBeLessThan(2000);
    const keys = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`magic\n\x1b\x7f${i}`, true]));
    expect(refusal(changed('llama', keys))).toMatch(/^[\x20-\x7e…]{1,400} and 994 more: not known/);
  });
});

describe('keys that change nothing', () => {
  it('are let through, and falsy unknown ones too', () => {
    const plain = readConfig(configJson('llama')).config;
    const json = changed('llama', {
      torch_dtype: 'bfloat16',
      dtype: 'bfloat16',
      attn_implementation: 'eager',
      id2label: { 0: 'a' },
      hidden_dropout: 0.1,
      use_magic: false,
      magic: null,
      spells: [],
      rope_scaling: null,
    });
    expect(readConfig(json).config).toEqual(plain);
  });
});
