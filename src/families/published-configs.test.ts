/**
 * Files in the form of published checkpoints', written from what is known of their keys, with smaller sizes. Golden
 * cases are made of them by test/fixtures/make/published.py.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../util/errors.ts';
import { parseJsonObject } from '../util/json/json.ts';
import { readConfig } from './read-config.ts';

const FOLDER = join(import.meta.dirname, '../../test/fixtures/published');
const read = (name: string, changes: Readonly<Record<string, unknown>> = {}) =>
  readConfig(
    { ...parseJsonObject(readFileSync(join(FOLDER, `${name}.json`), 'utf8'), name, ConfigError), ...changes },
    name,
  );

describe('config.json in published forms', () => {
  it.each(readdirSync(FOLDER).map((file) => file.replace('.json', '')))('%s is read, every key of it', (name) => {
    expect(read(name).config.vocabSize).toBeGreaterThan(90);
  });

  it('of Llama 4 Scout states 4 for true, and an empty list for the default', () => {
    const { text_config: text } = parseJsonObject(
      readFileSync(join(FOLDER, 'llama4-scout.json'), 'utf8'),
      '',
      ConfigError,
    );
    const layersWith = (attn_temperature_tuning: unknown) =>
      read('llama4-scout', { text_config: { ...(text as object), attn_temperature_tuning } }).config.layers;
    expect(layersWith(4)).toEqual(layersWith(true));
    expect(layersWith(0)).toEqual(layersWith(false));
    expect(layersWith(false)).not.toEqual(layersWith(true));
  });

  it.each([
    ['apertus-8b', { qk_norm: false }, /qk_norm is false: only true is supported/],
    ['apertus-8b', { post_norm: true }, /post_norm is true/],
    ['ernie4.5-0.3b', { compression_ratio: 2 }, /compression_ratio is 2: only 1 is supported/],
    ['ernie4.5-21b-a3b', { moe_gate: 'sigmoid' }, /moe_gate is "sigmoid"/],
    ['falcon-h1-0.5b', { mamba_use_mlp: false }, /mamba_use_mlp is false/],
    ['hunyuan-a13b', { norm_topk_prob: false }, /norm_topk_prob is false/],
    ['hunyuan-a13b', { routed_scaling_factor: 2 }, /routed_scaling_factor is 2/],
    ['minimax-m2', { layernorm_mlp_beta: 3.5 }, /layernorm_mlp_beta is 3.5/],
    ['mamba-130m', { rms_norm: false }, /rms_norm is false/],
    ['deepseek-v3', { scoring_func: 'softmax' }, /scoring_func is "softmax"/],
  ])('%s with %j is refused', (name, changes, message) => {
    expect(() => read(name, changes)).toThrow(ConfigError);
    expect(() => read(name, changes)).toThrow(message);
  });
});
