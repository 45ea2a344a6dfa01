/**
 * @file The one record that describes a decoder of any family. Names are LitGPT's where LitGPT has one, in camel case.
 *
 * Nothing outside of src/families knows a family by name: what a family does differently is a value in this record.
 */
import { type LayerSpec, type SlotSpec, slotSpec } from './layer-spec.ts';
import type { Activation } from './mlp-spec.ts';
import type { NormSpec } from './norm-spec.ts';

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
  /**
   * With three sections: pair i follows stream i mod 3, as long as that stream has pairs left; the others follow the
   * first.
   */
  readonly byTurns?: boolean;
  /** Pairs rotate the other way round (nanochat). */
  readonly reverse?: boolean;
}

/** How many positions a token has. */
export function positionStreams(rope: RopeSpec): number {
  return rope.sections?.length ?? 1;
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
 * What comes out. `logits`: of the next token, as of all decoders; the others are encoders': `masked-logits`, of each
 * token itself; `hidden`: the last layer's states; `pooled`: their mean, projected.
 */
export type OutputKind = 'logits' | 'masked-logits' | 'hidden' | 'pooled';

/** A decoder or encoder, whole. What a layer is stands in `layers` and nowhere else. */
export interface Config {
  /** model_type of config.json. */
  readonly name: string;
  /** What a sequence is made of. */
  readonly input: InputKind;
  /** What the model gives for it. */
  readonly output: OutputKind;
  /** Positions that the model was made for (max_position_embeddings). */
  readonly contextLength: number;
  /** Rows of the head: the number of logits. */
  readonly vocabSize: number;
  /** Rows of the embedding, where they are more than the logits. */
  readonly embedRows: number;
  /** L: number of layers. */
  readonly nLayer: number;
  /** E: width of the residual stream. */
  readonly nEmbd: number;
  /** One record a layer: its mixer, MLP, norms and rotation. */
  readonly layers: readonly LayerSpec[];

  /** Of `patches`. */
  readonly patch: PatchSpec | null;
  /** This token's embedding is left out, and the others are made larger by as much as training left out more (ESM). */
  readonly droppedToken: number | null;
  /** Embeddings are multiplied with it. */
  readonly embedScale: number;
  /** Width of the embedding table where it is not nEmbd; projections lead in and out. */
  readonly embedDim: number;
  /**
   * Kinds of segments of a text (BERT's token types), each with a learned vector that is added to its tokens; 0: there
   * are none.
   */
  readonly tokenTypes: number;
  /**
   * A table with a vector of `size` for each token and layer, which enters at the end of each layer (Gemma 3n, Gemma
   * 4). `rows`: of the table.
   * @default none
   */
  readonly perLayerInput?: { readonly rows: number; readonly size: number };
  /**
   * A token has `count` streams, of which each layer computes the first alone (Gemma 3n). `scalesFirst`: the first is
   * multiplied with a learned vector before the vectors of `perLayerInput` are gated into the others.
   * @default none
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
  readonly norm: NormSpec;
  readonly finalNorm: NormSpec | null;

  /** False for encoders: every query sees every key. */
  readonly causal: boolean;

  readonly activation: Activation;
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

/** The layers that keep keys and values, in order, and what each keeps of a token. */
export function slotLayers({ layers }: Config): { readonly layer: number; readonly slots: SlotSpec }[] {
  return layers.flatMap(({ mixer }, layer) => {
    const slots = slotSpec(mixer);
    return slots ? [{ layer, slots }] : [];
  });
}

/** R, the query heads of a group, of all layers that keep keys and values. */
export function headsPerGroup(config: Config): ReadonlySet<number> {
  return new Set(slotLayers(config).map(({ slots }) => slots.heads / slots.groups));
}
