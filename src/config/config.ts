/**
 * @file The one record that describes a decoder of any family. Names are LitGPT's where LitGPT has one, in camel case.
 *
 * Nothing outside of src/families knows a family by name: what a family does differently is a value in this record.
 */

import type { Activation, LayerSpec, NormSpec, QkNormSpec } from './layer-spec.ts';

export { ACTIVATIONS, type Activation, type NormSpec, type QkNormSpec } from './layer-spec.ts';

/** How positions beyond the trained context are squeezed into it; see {@link ropeFrequencies} for the formulas. */
export type RopeScaling =
  | { readonly type: 'none' }
  | { readonly type: 'linear'; readonly factor: number }
  /** The first `pairs` pairs rotate, the others do not; the exponents are those of all pairs (Gemma 4). */
  | { readonly type: 'proportional'; readonly factor: number; readonly pairs: number }
  | { readonly type: 'dynamic'; readonly factor: number; readonly maxSeq: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreq: number;
      readonly highFreq: number;
      readonly origMaxSeq: number;
    }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly origMaxSeq: number;
      /** What cos and sin are multiplied with. */
      readonly attentionFactor: number;
      readonly truncate: boolean;
    }
  | {
      readonly type: 'longrope';
      readonly short: readonly number[];
      readonly long: readonly number[];
      readonly origMaxSeq: number;
      readonly attnFactorShort: number;
      readonly attnFactorLong: number;
    };

/** One rotary embedding. A model may have several (gemma3: one for its sliding, one for its full layers). */
export interface RopeSpec {
  /** ropeTheta. */
  readonly base: number;
  /** n: the number that the exponents 2i/n are made with; ceil(n / 2) pairs rotate. May be odd. */
  readonly nElem: number;
  /** Pairs (2i, 2i+1) instead of (i, i + pairs). */
  readonly interleave: boolean;
  readonly scaling: RopeScaling;
  /** Where a token has several positions (time, height, width): how many of the pairs follow each of them. */
  readonly sections?: readonly number[];
  /** With sections: frequencies are dealt out to them by turns, instead of one stretch to each. */
  readonly alternate?: boolean;
  /** With three sections: pair i follows stream i mod 3, as long as that stream has pairs left; the others follow the first. */
  readonly byTurns?: boolean;
  /** Pairs rotate the other way round (nanochat). */
  readonly reverse?: boolean;
}

/** How many positions a token has. */
export function positionStreams(rope: RopeSpec): number {
  return rope.sections?.length ?? 1;
}

export type MlpKind = 'mlp' | 'gated' | 'moe';

/**
 * What a layer mixes tokens with. `experts`: attention whose queries are made by experts that a router chose (jetmoe); `recurrent`:
 * a gated linear recurrence in place of attention; `cross`: attention to states that the caller gives, in a gated layer.
 */
export type AttentionKind = 'self' | 'experts' | 'recurrent' | 'cross';

/** A mixture of experts. */
export interface MoeSpec {
  readonly nExpert: number;
  readonly nExpertPerToken: number;
  /** How weights come of the router's logits: softmax, then the best; or sparsemixer's two rounds (arXiv 2409.12136). */
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
   * What is dropped where a token may see none of the states: the result of the layer's `mlp` (its attention sees all of them
   * then, and the layer falls away where there are no states at all), or of its `attention`.
   */
  readonly blind: 'mlp' | 'attention';
}

/** How an image becomes a sequence: a square of pixels, all channels together, is one element. */
export interface PatchSpec {
  /** Pixels a side. */
  readonly size: number;
  readonly channels: number;
  /** Most patches a side. */
  readonly most: number;
}

/** What a sequence is made of: token ids; vectors; patches of an image. */
export type InputKind = 'tokens' | 'vectors' | 'patches';

/**
 * What comes out. `logits`: of the next token, as of all decoders; the others are encoders': `masked-logits`, of each token itself;
 * `hidden`: the last layer's states; `pooled`: their mean, projected.
 */
export type OutputKind = 'logits' | 'masked-logits' | 'hidden' | 'pooled';

/** A decoder or encoder, whole. Arrays called "per layer" have nLayer entries. */
export interface Config {
  /** model_type of config.json. */
  readonly name: string;
  readonly input: InputKind;
  readonly output: OutputKind;
  /** Positions that the model was made for (max_position_embeddings). */
  readonly contextLength: number;
  /** Rows of the head: the number of logits. */
  readonly vocabSize: number;
  /** Rows of the embedding, where they are more than the logits. */
  readonly embedRows: number;
  readonly nLayer: number;
  /** E: width of the residual stream. */
  readonly nEmbd: number;
  /** H. */
  readonly nHead: number;
  /** G: number of key and value heads. */
  readonly nQueryGroups: number;
  /** D. */
  readonly headSize: number;

  /** One record a layer: its mixer, MLP, norms and rotation. */
  readonly layers: readonly LayerSpec[];

  /** Per layer: its number in the checkpoint's names, where layers of one kind are counted by themselves. */
  readonly layerNumbers: readonly number[];

  /** Of `patches`. */
  readonly patch: PatchSpec | null;
  /** This token's embedding is left out, and the others are made larger by as much as training left out more (ESM). */
  readonly droppedToken: number | null;
  /** Embeddings are multiplied with it. */
  readonly embedScale: number;
  /** Width of the embedding table where it is not nEmbd; projections lead in and out. */
  readonly embedDim: number;
  /** Kinds of segments of a text (BERT's token types), each with a learned vector that is added to its tokens; 0: there are none. */
  readonly tokenTypes: number;
  /**
   * A table with a vector of `size` for each token and layer, which enters at the end of each layer (Gemma 3n, Gemma 4). `rows`: of
   * the table. @default none
   */
  readonly perLayerInput?: { readonly rows: number; readonly size: number };
  /**
   * A token has `count` streams, of which each layer computes the first alone (Gemma 3n). `scalesFirst`: the first is multiplied with
   * a learned vector before the vectors of `perLayerInput` are gated into the others. @default none
   */
  readonly altUp?: { readonly count: number; readonly scalesFirst: boolean };
  /** A norm directly after the embedding. */
  readonly embedNorm: boolean;
  readonly tieEmbeddings: boolean;
  readonly lmHeadBias: boolean;
  /** A norm of the head's own, behind the last one. */
  readonly headNorm: NormSpec | null;
  /** Width of what is `pooled`. */
  readonly projectionDim: number;
  /** Logits are multiplied with it. */
  readonly logitScale: number;
  readonly finalLogitSoftcapping: number | null;
  /** Tokens that are never predicted. */
  readonly suppressedTokens: readonly number[];

  readonly position: 'rope' | 'learned' | 'alibi' | 'none';
  /** Learned positions: row 0 of the table stands for position -offset. */
  readonly positionOffset: number;
  /** Alibi: the bias is multiplied with the attention scale. */
  readonly alibiScaled: boolean;
  readonly ropes: readonly RopeSpec[];
  /** Per layer: index into ropes, or -1 for none. */
  readonly ropeIndices: readonly number[];
  /** Values are rotated like keys. */
  readonly rotateValues: boolean;

  readonly norm: NormSpec;
  readonly finalNorm: NormSpec | null;
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
  /** False for encoders: every query sees every key. */
  readonly causal: boolean;

  /** Per layer. */
  readonly mlpKind: readonly MlpKind[];
  readonly activation: Activation;
  readonly mlpBias: boolean;
  readonly intermediateSize: number;
  readonly moe: MoeSpec | null;

  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
}

/** Rotated dimensions of a head: 2·ceil(n / 2). Never more than headSize in a checked config. */
export function rotatedDims(rope: Pick<RopeSpec, 'nElem'>): number {
  return 2 * Math.ceil(rope.nElem / 2);
}

/** Whether the model takes whole sequences and keeps nothing, rather than writing token after token. */
export function isEncoder({ output }: Config): boolean {
  return output !== 'logits';
}

/** The same model with each layer changed. */
export function withLayers(config: Config, change: (layer: LayerSpec, index: number) => LayerSpec): Config {
  return { ...config, layers: config.layers.map(change) };
}
