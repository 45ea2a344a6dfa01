/**
 * @file From what a family says of all its layers to one record a layer.
 */
import type { Config } from '../config/config.ts';
import type { AttentionSpec, LayerNorms, LayerSpec, MixerSpec } from '../config/layer-spec.ts';
import type { MlpSpec, RouterSpec } from '../config/mlp-spec.ts';
import type { NormSpec, QkNormSpec } from '../config/norm-spec.ts';
import { range } from '../util/numbers.ts';

export type MlpKind = 'mlp' | 'gated' | 'moe';

/**
 * What a layer mixes tokens with. `experts`: attention whose queries are made by experts that a router chose (jetmoe);
 * `recurrent`: a gated linear recurrence in place of attention; `cross`: attention to states that the caller gives, in
 * a gated layer.
 */
export type AttentionKind = 'self' | 'experts' | 'recurrent' | 'cross';

/** A mixture of experts. */
export interface MoeSpec {
  readonly nExpert: number;
  readonly nExpertPerToken: number;
  /**
   * How weights come of the router's logits: softmax, then the best; or sparsemixer's two rounds (arXiv 2409.12136).
   */
  readonly router: 'softmax' | 'sparsemixer';
  /** The weights of those chosen are divided by their p-norm; null: they stay as they are. */
  readonly normP: number | null;
  /** Sparsemixer's threshold. */
  readonly jitter: number;
  /** Width of one expert. */
  readonly intermediateSize: number;
  /** Width of the MLP that every token goes through besides; 0 for none. */
  readonly sharedSize: number;
  /** The shared MLP's result is multiplied with a sigmoid gate. */
  readonly sharedGate: boolean;
  readonly outputBias: boolean;
}

/** The recurrent block of Griffin (arXiv 2402.19427). */
export interface RecurrentSpec {
  /** W: width of the recurrence. */
  readonly width: number;
  readonly convWidth: number;
  /** The gates' matrices are block diagonal, with so many blocks. */
  readonly blocks: number;
}

/** Layers that attend to states which the caller gives, such as those of an image. */
export interface CrossSpec {
  /** Width of the states. */
  readonly width: number;
  /** A norm of each head's queries and keys. */
  readonly normQk: NormSpec | null;
  /** Both branches are multiplied with the tanh of a learned number, or of a vector. */
  readonly gate: 'number' | 'vector';
  /**
   * What is dropped where a token may see none of the states: the result of the layer's `mlp` (its attention sees all
   * of them then, and the layer falls away where there are no states at all), or of its `attention`.
   */
  readonly blind: 'mlp' | 'attention';
}

/**
 * What a family says of its layers: {@link layersOf} makes their records of it. Arrays called "per layer" have nLayer
 * entries.
 */
export interface LayerDefaults {
  /** H. */
  readonly nHead: number;
  /** G: number of key and value heads. */
  readonly nQueryGroups: number;
  /** D. */
  readonly headSize: number;

  /** Per layer: its number in the checkpoint's names, where layers of one kind are counted by themselves. */
  readonly layerNumbers: readonly number[];

  /** Per layer: index into ropes, or -1 for none. */
  readonly ropeIndices: readonly number[];
  /** Values are rotated like keys. */
  readonly rotateValues: boolean;

  readonly norm1: boolean;
  readonly norm2: boolean;
  readonly postAttentionNorm: boolean;
  readonly postMlpNorm: boolean;
  /** `after-add`: norm1 and norm2 are applied to the residual sum (as OPT-350m does). */
  readonly normPlacement: 'pre' | 'after-add';
  /** Attention and MLP read the same residual and are added together. */
  readonly parallelResidual: boolean;
  /** Parallel residual with one norm for both branches. */
  readonly sharedAttentionNorm: boolean;
  /** Each branch is multiplied with it before it is added. */
  readonly residualMultiplier: number;

  /** Each branch is multiplied with a learned vector before it is added. */
  readonly layerScale: boolean;

  /** Per layer. */
  readonly attentionKind: readonly AttentionKind[];
  readonly recurrent: RecurrentSpec | null;
  readonly cross: CrossSpec | null;
  readonly attnBias: { readonly qkv: boolean /** Per layer. */; readonly proj: readonly boolean[] };
  /** What q·k is multiplied with. */
  readonly attentionScale: number;
  readonly attentionLogitSoftcapping: number | null;
  readonly clipQkv: number | null;
  readonly clipQkvAfterNorm: boolean;
  readonly normQk: QkNormSpec | null;
  /** w: a query at position p sees positions p - w + 1 … p. */
  readonly slidingWindowSize: number | null;
  /** Per layer: whether the window applies. */
  readonly slidingWindowIndices: readonly boolean[];
  /** Per layer. */
  readonly mlpKind: readonly MlpKind[];
  readonly mlpBias: boolean;
  readonly intermediateSize: number;
  readonly moe: MoeSpec | null;
  /** What layers have of their own beyond the rest of this record. */
  readonly layer?: (layer: LayerSpec, index: number) => LayerSpec;
}

/** What a family's reader returns. */
export type FamilyConfig = Omit<Config, 'layers'> & LayerDefaults;

/** The names of {@link LayerDefaults}. */
const LAYER_DEFAULTS = {
  nHead: true,
  nQueryGroups: true,
  headSize: true,
  layerNumbers: true,
  ropeIndices: true,
  rotateValues: true,
  norm1: true,
  norm2: true,
  postAttentionNorm: true,
  postMlpNorm: true,
  normPlacement: true,
  parallelResidual: true,
  sharedAttentionNorm: true,
  residualMultiplier: true,
  layerScale: true,
  attentionKind: true,
  recurrent: true,
  cross: true,
  attnBias: true,
  attentionScale: true,
  attentionLogitSoftcapping: true,
  clipQkv: true,
  clipQkvAfterNorm: true,
  normQk: true,
  slidingWindowSize: true,
  slidingWindowIndices: true,
  mlpKind: true,
  mlpBias: true,
  intermediateSize: true,
  moe: true,
  layer: true,
} satisfies Record<keyof LayerDefaults, true>;

/** The model that a family describes: what it says of its layers becomes one record a layer. */
export function configOf(family: FamilyConfig): Config {
  const model = Object.fromEntries(Object.entries(family).filter(([name]) => !Object.hasOwn(LAYER_DEFAULTS, name)));
  return { ...(model as Omit<Config, 'layers'>), layers: layersOf(family) };
}

function layersOf(config: FamilyConfig): LayerSpec[] {
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
        latent: null,
      },
      shared: sharedSize > 0 ? { size: sharedSize, gate: sharedGate } : null,
      outputBias,
    };
  }
  return { kind: config.mlpKind[l] === 'mlp' ? 'plain' : 'gated', size: config.intermediateSize, bias, activation };
}
