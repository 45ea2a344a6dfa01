/**
 * @file The part of a config that most families read alike, in Llama's words; a family passes what it does otherwise.
 */
import type { RopeSpec } from '../config/config.ts';
import type { LayerSpec, SelfAttention } from '../config/layer-spec.ts';
import type { Activation } from '../config/mlp-spec.ts';
import type { NormSpec, QkNormSpec } from '../config/norm-spec.ts';
import type { ConfigReader } from '../config/reader.ts';
import { show } from '../util/json/show.ts';
import { range } from '../util/numbers.ts';
import type { FamilyConfig, MlpKind } from './layers.ts';
import { type RopeDefaults, readRope } from './read-rope.ts';

/** Names of activations in config files. Several are the same function. */
const ACTIVATION_NAMES: Readonly<Record<string, Activation>> = {
  silu: 'silu',
  swish: 'silu',
  swiglu: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu-tanh',
  gelu_fast: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
  quick_gelu: 'quick-gelu',
  relu: 'relu',
  relu2: 'relu2',
  tanh: 'tanh',
};

/** No decoder has more, and a file that says so is wrong: it must not make us build a graph of that size. */
export const MAX_LAYERS = 1024;
const MAX_HEADS = 8192;
export const MAX_HEAD_SIZE = 65_536;
const MAX_WIDTH = 2 ** 20;
const MAX_VOCABULARY = 2 ** 23;

/** Keys of the sizes, where a family calls them otherwise than Llama does; null: it has none, and the default holds. */
export interface BaseKeys {
  readonly vocabSize?: null;
  readonly nEmbd?: Keys;
  readonly nLayer?: Keys;
  readonly nHead?: Keys;
  readonly nQueryGroups?: Keys | null;
  readonly headSize?: Keys;
  readonly contextLength?: Keys;
  readonly intermediateSize?: Keys | null;
  readonly activation?: Keys | null;
  readonly normEps?: Keys | null;
}
type Keys = readonly string[];

export interface BaseDefaults {
  readonly keys?: BaseKeys;
  readonly normEps?: number;
  readonly norm?: Partial<NormSpec>;
  readonly activation?: string;
  readonly tie?: boolean;
  readonly nLayer?: number;
  readonly nHead?: number;
  readonly headSize?: number;
  /** Default of nQueryGroups; nHead where it is absent. */
  readonly nQueryGroups?: number;
  readonly intermediateSize?: (nEmbd: number) => number;
  /** null: the family has no rotary embedding. */
  readonly rope?: Omit<RopeDefaults, 'headSize' | 'maxSeq'> | null;
}

/** What a family has unless it says otherwise: values that mean "as in Llama", whatever the sizes. */
const AS_LLAMA = {
  input: 'tokens',
  output: 'logits',
  patch: null,
  droppedToken: null,
  embedScale: 1,
  tokenTypes: 0,
  embedNorm: false,
  lmHeadBias: false,
  headNorm: null,
  projectionDim: 0,
  logitScale: 1,
  finalLogitSoftcapping: null,
  suppressedTokens: [],
  positionOffset: 0,
  alibiScaled: false,
  rotateValues: false,
  norm1: true,
  norm2: true,
  postAttentionNorm: false,
  postMlpNorm: false,
  normPlacement: 'pre',
  parallelResidual: false,
  sharedAttentionNorm: false,
  residualMultiplier: 1,
  layerScale: false,
  recurrent: null,
  cross: null,
  attentionLogitSoftcapping: null,
  clipQkv: null,
  clipQkvAfterNorm: false,
  normQk: null,
  slidingWindowSize: null,
  causal: true,
  mlpBias: false,
  moe: null,
} as const satisfies Partial<FamilyConfig>;

/** Reads sizes, norms, activation, RoPE and token ids; everything else is at the value that means "as in Llama". */
export function readBase(r: ConfigReader, d: BaseDefaults = {}): FamilyConfig {
  const keys = d.keys ?? {};
  const nLayer = r.int(keys.nLayer ?? 'num_hidden_layers', d.nLayer, 1, MAX_LAYERS);
  const nEmbd = r.int(keys.nEmbd ?? 'hidden_size', undefined, 1, MAX_WIDTH);
  const nHead = r.int(keys.nHead ?? 'num_attention_heads', d.nHead, 1, MAX_HEADS);
  const keyOf = (keys: Keys | null | undefined, usual: string): Keys => (keys === undefined ? [usual] : (keys ?? []));
  const groupKeys = keyOf(keys.nQueryGroups, 'num_key_value_heads');
  const nQueryGroups = r.int(groupKeys, d.nQueryGroups ?? nHead, 1, MAX_HEADS);
  if (nHead % nQueryGroups !== 0) r.fail(groupKeys, `is ${nQueryGroups}, which does not divide the ${nHead} heads`);
  const headKeys = keys.headSize ?? ['head_dim'];
  if (!r.has(headKeys) && d.headSize === undefined && nEmbd % nHead !== 0)
    r.fail(keys.nHead ?? 'num_attention_heads', `is ${nHead}, which does not divide the width ${nEmbd}`);
  const headSize = r.int(headKeys, d.headSize ?? Math.floor(nEmbd / nHead), 1, MAX_HEAD_SIZE);
  const vocabSize = keys.vocabSize === null ? 0 : r.int('vocab_size', undefined, 1, MAX_VOCABULARY);
  const contextLength = r.int(keys.contextLength ?? 'max_position_embeddings', 2048);
  const norm: NormSpec = {
    kind: 'rms',
    eps: r.epsilon(keyOf(keys.normEps, 'rms_norm_eps'), d.normEps ?? 1e-6),
    affine: true,
    bias: false,
    unitOffset: false,
    ...d.norm,
  };
  const rope = d.rope === null ? null : readRope(r, { headSize, maxSeq: contextLength, ...d.rope });
  const rotates = rope !== null && rope.nElem > 0;
  const perLayer = <T>(value: T): T[] => new Array<T>(nLayer).fill(value);
  return {
    ...AS_LLAMA,
    name: r.string('model_type'),
    contextLength,
    vocabSize,
    embedRows: vocabSize,
    nLayer,
    nEmbd,
    nHead,
    nQueryGroups,
    headSize,
    layerNumbers: range(nLayer),
    embedDim: nEmbd,
    tieEmbeddings: r.bool('tie_word_embeddings', d.tie ?? false),
    position: rotates ? 'rope' : 'none',
    ropes: rotates ? [rope] : [],
    ropeIndices: perLayer(rotates ? 0 : -1),
    norm,
    finalNorm: norm,
    attentionKind: perLayer('self' as const),
    attnBias: { qkv: false, proj: perLayer(false) },
    attentionScale: headSize ** -0.5,
    slidingWindowIndices: perLayer(false),
    mlpKind: perLayer('gated' as const),
    activation: r.choice(keyOf(keys.activation, 'hidden_act'), ACTIVATION_NAMES, d.activation ?? 'silu'),
    intermediateSize: r.int(keyOf(keys.intermediateSize, 'intermediate_size'), d.intermediateSize?.(nEmbd)),
    bosTokenId: r.tokenIds('bos_token_id')[0] ?? null,
    eosTokenIds: r.tokenIds('eos_token_id'),
  };
}

/** The same biases on all layers. */
export function attnBias(config: FamilyConfig, qkv: boolean, proj: boolean): Pick<FamilyConfig, 'attnBias'> {
  return { attnBias: { qkv, proj: new Array<boolean>(config.nLayer).fill(proj) } };
}

/** act(fc(x)) without a gate on all layers. */
export function ungatedMlp(config: FamilyConfig, bias: boolean): Pick<FamilyConfig, 'mlpKind' | 'mlpBias'> {
  return { mlpKind: new Array<MlpKind>(config.nLayer).fill('mlp'), mlpBias: bias };
}

/** The layer, with more said of its own attention; layers of another kind are unchanged. */
export function withAttention(layer: LayerSpec, own: Partial<SelfAttention>): LayerSpec {
  return layer.mixer?.kind === 'self-attention' ? { ...layer, mixer: { ...layer.mixer, ...own } } : layer;
}

/** Attention and MLP side by side, behind one norm. */
export const PARALLEL_SHARED = { parallelResidual: true, sharedAttentionNorm: true } as const;

/** A norm of queries and keys that is made like the config's other norms. */
export function qkNorm(
  config: FamilyConfig,
  over: QkNormSpec['over'],
  own: Partial<QkNormSpec> = {},
): Pick<FamilyConfig, 'normQk'> {
  return { normQk: { place: 'before-rope', ...config.norm, ...own, over } };
}

/** A window on the layers for which `on` holds; none where the config has no window. */
export function window(
  config: FamilyConfig,
  size: number | null,
  on: (layer: number) => boolean = () => true,
): Pick<FamilyConfig, 'slidingWindowSize' | 'slidingWindowIndices'> {
  return {
    slidingWindowSize: size,
    slidingWindowIndices: Array.from({ length: config.nLayer }, (_, l) => size !== null && on(l)),
  };
}

/** Rotation on the layers for which `on` holds, and none on the others. */
export function ropeOn(config: FamilyConfig, on: (layer: number) => boolean): Pick<FamilyConfig, 'ropeIndices'> {
  return { ropeIndices: config.ropeIndices.map((index, l) => (on(l) ? index : -1)) };
}

/**
 * `no_rope_layers`, where 1 stands for a layer that does rotate; where it is absent or empty, one in
 * `no_rope_layer_interval` does not.
 */
export function rotatingLayers(r: ConfigReader, nLayer: number): boolean[] {
  const interval = r.int('no_rope_layer_interval', 4);
  if (!r.has('no_rope_layers') || r.list('no_rope_layers').length === 0)
    return range(nLayer).map((l) => (l + 1) % interval !== 0);
  return r.numbers('no_rope_layers', nLayer).map((value) => {
    if (value !== 0 && value !== 1) r.fail('no_rope_layers', `must be a list of 0 and 1, but has ${value}`);
    return value === 1;
  });
}

/**
 * Rotary embeddings of full and of sliding layers: nested `rope_parameters` state each; old keys state the full
 * layers', and sliding layers have the base `localTheta` and no scaling.
 * @param localTheta null: the full layers' base.
 */
export function ropesByType(
  r: ConfigReader,
  defaults: RopeDefaults,
  sliding: readonly boolean[],
  localTheta: number | null,
): Pick<FamilyConfig, 'ropes' | 'ropeIndices'> {
  const full = readRope(r, { ...defaults, layerType: 'full_attention' });
  const nested = r.object('rope_parameters')?.has('sliding_attention');
  const local: RopeSpec = nested
    ? readRope(r, { ...defaults, theta: localTheta ?? defaults.theta, layerType: 'sliding_attention' })
    : { ...full, base: localTheta ?? full.base, scaling: { type: 'none' } };
  if (JSON.stringify(full) === JSON.stringify(local)) return { ropes: [full], ropeIndices: sliding.map(() => 0) };
  return { ropes: [full, local], ropeIndices: sliding.map((on) => (on ? 1 : 0)) };
}

/** The size of the window: null where the file says so, the family's own where the file is silent. */
export function windowSize(r: ConfigReader, fallback: number): number | null {
  return r.isNull('sliding_window') ? null : r.int('sliding_window', fallback);
}

/** `layer_types` where it is there, else the family's rule: which layers have a sliding window. */
export function slidingLayers(r: ConfigReader, nLayer: number, rule: (layer: number) => boolean): boolean[] {
  const types = r.strings('layer_types', nLayer);
  if (!types) return Array.from({ length: nLayer }, (_, l) => rule(l));
  return types.map((type) => {
    if (type !== 'sliding_attention' && type !== 'full_attention')
      r.fail('layer_types', `names ${show(type)}; known are full_attention and sliding_attention`);
    return type === 'sliding_attention';
  });
}
