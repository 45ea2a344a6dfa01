/**
 * @file From what a family says of all its layers to one record a layer.
 */
import type { Config } from '../config/config.ts';
import type { AttentionSpec, LayerNorms, LayerSpec, MixerSpec, MlpSpec, RouterSpec } from '../config/layer-spec.ts';
import { range } from '../util/numbers.ts';

/** What a family's reader returns. */
export interface FamilyConfig extends Omit<Config, 'layers'> {
  /** What layers have of their own beyond the rest of this record. */
  readonly layer?: (layer: LayerSpec, index: number) => LayerSpec;
}

export function layersOf(config: FamilyConfig): LayerSpec[] {
  const norms = normsOf(config);
  return range(config.nLayer).map((l) => {
    const rope = config.ropeIndices[l];
    const layer: LayerSpec = {
      mixer: mixerOf(config, l),
      mlp: mlpOf(config, l),
      norms,
      residual: !config.parallelResidual ? 'sequential' : config.sharedAttentionNorm ? 'parallel-shared' : 'parallel',
      residualScale: config.residualMultiplier,
      layerScale: config.layerScale,
      rope: rope < 0 ? null : rope,
      checkpointIndex: config.layerNumbers[l],
    };
    return config.layer?.(layer, l) ?? layer;
  });
}

function normsOf({ norm, normPlacement, norm1, norm2, postAttentionNorm, postMlpNorm }: FamilyConfig): LayerNorms {
  const pre = normPlacement === 'pre';
  const onlyIf = (there: boolean) => (there ? norm : null);
  return {
    beforeMixer: onlyIf(pre && norm1),
    afterMixer: onlyIf(postAttentionNorm),
    beforeMlp: onlyIf(pre && norm2),
    afterMlp: onlyIf(postMlpNorm),
    afterMixerAdd: onlyIf(!pre),
    afterMlpAdd: onlyIf(!pre),
  };
}

function mixerOf(config: FamilyConfig, l: number): MixerSpec {
  const kind = config.attentionKind[l];
  const { recurrent, cross, moe, headSize, clipQkv } = config;
  if (kind === 'recurrent') return { kind: 'rg-lru', ...recurrent!, activation: config.activation };
  const heads = {
    heads: config.nHead,
    groups: config.nQueryGroups,
    keySize: headSize,
    valueSize: headSize,
    scale: config.attentionScale,
    softcap: config.attentionLogitSoftcapping,
  };
  if (kind === 'cross') {
    const { normQk: qkNorm, width, gate, blind } = cross!;
    return { kind: 'cross-attention', ...heads, qkNorm, width, gate, blind };
  }
  const attention: AttentionSpec = {
    ...heads,
    window: config.slidingWindowIndices[l] ? config.slidingWindowSize : null,
    chunk: null,
    qkNorm: config.normQk,
    clip: clipQkv === null ? null : { limit: clipQkv, afterNorm: config.clipQkvAfterNorm },
    rotateValues: config.rotateValues,
    sinks: false,
    gate: false,
    temperature: null,
    bias: { qkv: config.attnBias.qkv, proj: config.attnBias.proj[l] },
  };
  return kind === 'self'
    ? { kind: 'self-attention', ...attention }
    : { kind: 'head-experts', ...attention, experts: moe!.nExpert, router: routerOf(config) };
}

/** A router without anything beyond its scores. */
const PLAIN_ROUTER = { bias: false, choiceBias: false, groups: null, normEps: 0, normMin: 0, scale: 1 } as const;

function routerOf({ moe }: FamilyConfig): RouterSpec {
  const { nExpertPerToken: perToken, router: score, normP, jitter } = moe!;
  return { ...PLAIN_ROUTER, perToken, score, normP, jitter };
}

function mlpOf(config: FamilyConfig, l: number): MlpSpec {
  const { moe, activation, mlpBias: bias } = config;
  if (config.mlpKind[l] === 'moe') {
    const { nExpert, intermediateSize, sharedSize, sharedGate, outputBias } = moe!;
    return {
      kind: 'moe',
      router: routerOf(config),
      experts: {
        count: nExpert,
        size: intermediateSize,
        bias,
        activation,
        gated: true,
        clamp: null,
        scaledInput: false,
      },
      shared: sharedSize > 0 ? { size: sharedSize, gate: sharedGate } : null,
      outputBias,
    };
  }
  return { kind: config.mlpKind[l] === 'mlp' ? 'plain' : 'gated', size: config.intermediateSize, bias, activation };
}
