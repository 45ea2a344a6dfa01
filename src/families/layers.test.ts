import { describe, expect, it } from 'vitest';
import { configJson } from '../../test/support/family-cases.ts';
import type { LayerSpec } from '../config/layer-spec.ts';
import { readConfig } from './read-config.ts';

const layersOf = (name: string): readonly LayerSpec[] => readConfig(configJson(name)).config.layers;

describe('layers', () => {
  it('of a model whose layers are all alike are all alike', () => {
    const layers = layersOf('llama');
    expect(layers[0]).toMatchObject({
      mixer: { kind: 'self-attention', window: null, softcap: null, qkNorm: null, bias: { qkv: false, proj: false } },
      mlp: { kind: 'gated', activation: 'silu', bias: false },
      norms: { afterMixer: null, afterMlp: null, afterMixerAdd: null },
      residual: 'sequential',
      rope: 0,
    });
    for (const [l, layer] of layers.entries()) expect(layer).toEqual({ ...layers[0], checkpointIndex: l });
  });

  it('have windows and rotations of their own', () => {
    const { config } = readConfig(configJson('gemma3'));
    const { layer_types, sliding_window } = configJson('gemma3');
    const types = layer_types as string[];
    for (const [l, { mixer, rope, norms }] of config.layers.entries()) {
      const sliding = types[l] === 'sliding_attention';
      expect(mixer).toMatchObject({ kind: 'self-attention', window: sliding ? sliding_window : null });
      expect(rope).toBe(sliding ? 1 : 0);
      expect(norms.afterMlp).toMatchObject({ unitOffset: true });
    }
  });

  it('have mixers of different kinds, each with its own numbers', () => {
    const kinds = (name: string) => new Set(layersOf(name).map(({ mixer }) => mixer?.kind));
    expect(kinds('recurrent_gemma')).toEqual(new Set(['rg-lru', 'self-attention']));
    expect(kinds('mllama_text')).toEqual(new Set(['cross-attention', 'self-attention']));
    expect(kinds('jetmoe')).toEqual(new Set(['head-experts']));
    const lru = layersOf('recurrent_gemma').find(({ mixer }) => mixer?.kind === 'rg-lru')!;
    expect(lru).toMatchObject({ rope: null, mixer: { convWidth: 4, activation: 'gelu-tanh' } });
  });

  it('have MLPs of different kinds', () => {
    expect(layersOf('gpt2')[0].mlp).toMatchObject({ kind: 'plain', bias: true, activation: 'gelu-tanh' });
    expect(layersOf('qwen2_moe')[0].mlp).toMatchObject({
      kind: 'moe',
      router: { score: 'softmax', normP: null },
      shared: { gate: true },
    });
    expect(layersOf('mixtral')[0].mlp).toMatchObject({ kind: 'moe', router: { normP: 1 }, shared: null });
  });

  it('have their norms before or after the addition', () => {
    const { norms } = layersOf('opt-350m-like')[0];
    expect(norms).toMatchObject({ beforeMixer: null, beforeMlp: null, afterMixerAdd: { kind: 'layer' } });
    expect(layersOf('olmo2')[0].norms).toMatchObject({ beforeMixer: null, afterMixer: { kind: 'rms' } });
    expect(layersOf('gptj')[0].residual).toBe('parallel-shared');
  });
});
