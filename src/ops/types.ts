/**
 * @file The operators that models are made of, as records. An engine computes each of them in its own way: one call of
 * ggml, or twelve ONNX nodes.
 *
 * Letters in shapes: B rows of the batch, T tokens of the chunk, C slots of the cache, E width of the residual stream,
 * H query heads, G query groups, R = H / G, D size of a key, Dv size of a value, N tokens that want logits, S states or
 * state times. No value has more than four axes.
 */
import type { QueryTemperature } from '../config/layer-spec.ts';
import type { Activation, MoeMlp, RouterSpec } from '../config/mlp-spec.ts';
import type { BufferChoice, BufferKind } from '../kvcache/buffers.ts';
import type { Dim } from './shapes.ts';

/** Element types of values. Slots of a cache may be `float16` or packed in `uint8`; `int32` are indices of slots. */
export type Dtype = 'float32' | 'float16' | 'int32' | 'int64' | 'uint8';

/** A tensor of the graph. */
export interface Value {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly Dim[];
}

export type UnaryKind = Activation | 'sigmoid' | 'softplus' | 'exp' | 'neg' | 'sqrt';
export type BinaryKind = 'add' | 'sub' | 'mul' | 'div';

/** Which keys a query attends to, and what is added to scores by distance. */
export interface MaskAttributes {
  /**
   * w: a query at position p attends to positions p - w + 1 … p; null: no window. Without causality it reaches to both
   * sides.
   */
  readonly window: number | null;
  /** c: a query at position p attends to positions ⌊p / c⌋ · c … p; null: no chunks. */
  readonly chunk: number | null;
  /**
   * Slope of each query head [H] (ALiBi, arXiv 2108.12409): slope · (position of the key - position of the query) is
   * added.
   */
  readonly alibi: Float32Array | null;
}

export interface ScoreAttributes {
  /** What q·k is multiplied with. */
  readonly scale: number;
  /** Scores become cap · tanh(scores / cap). */
  readonly softcap: number | null;
}

/**
 * What each operator has besides its inputs. Inputs and outputs are listed as `(inputs) → (outputs)`; `?` marks an
 * input that may be null.
 */
export interface OpAttributes {
  /** (ids int64 [B, T], table [rows, E]) → [B, T, E] */
  readonly embed: Record<never, never>;
  /** (x [..., in], weight [out, in], bias? [out]) → [..., out] */
  readonly linear: Record<never, never>;
  /** (x [..., n], weight? [n], bias? [n]) → [..., n], normalized over the last axis. */
  readonly norm: { readonly kind: 'rms' | 'layer'; readonly eps: number };
  /** (addend [..., n], x [..., n], weight?, bias?) → (the sum, normalized; the sum) */
  readonly addNorm: { readonly kind: 'rms' | 'layer'; readonly eps: number };
  /** (x) → same shape */
  readonly unary: { readonly kind: UnaryKind };
  /**
   * (x, alphaP [1], alphaN [1], beta [1], eps [1]) → same shape (xIELU, arXiv 2411.13010):
   * softplus(alphaP) · x² + beta · x where x > 0; (beta + softplus(alphaN)) · (e^min(x, eps) - 1 - x) + beta · x
   * elsewhere.
   */
  readonly xielu: Record<never, never>;
  /** (a, b) → broadcast shape, as NumPy does */
  readonly binary: { readonly kind: BinaryKind };
  /** (x) → x · factor */
  readonly scale: { readonly factor: number };
  /** (x) → cap · tanh(x / cap) */
  readonly softcap: { readonly cap: number };
  readonly clip: { readonly low: number; readonly high: number };
  /** (x) → the same numbers under `target`: 0 keeps the axis of that index, -1 is what remains. */
  readonly reshape: { readonly target: readonly number[] };
  /** (x [B·T, n], y [B, T, ...]) → x under [B, T, n] */
  readonly tokensLike: Record<never, never>;
  /** (x) → zeros of the same shape */
  readonly zerosLike: Record<never, never>;
  readonly transpose: { readonly perm: readonly number[] };
  /** (x) → one value for each length */
  readonly split: { readonly axis: number; readonly lengths: readonly number[] };
  /** (x, y, …) → [...] */
  readonly concat: { readonly axis: number };
  /** (table [rows, ...], index int64 [...]) → [...index, ...]: rows of the first axis */
  readonly gatherRows: Record<never, never>;
  /** (slots uint8 [N, bytes], index int32 [B, G, C]) → [B, G, C, size]: the numbers of slots that are blocks. */
  readonly gatherSlots: { readonly kind: BufferKind; readonly size: number };
  /** (x) → the sum over one axis, which stays with length 1. */
  readonly reduceSum: { readonly axis: number };

  /**
   * (x [B, heads, T, D], cos [B·T, pairs], sin [B·T, pairs], index int64 [B, T]: rows of cos and sin) → same shape;
   * dimensions from 2·pairs on are unchanged.
   */
  readonly rotate: {
    /** Pairs (2i, 2i + 1) instead of (i, i + pairs). */
    readonly interleave: boolean;
    /** cos and sin are times a factor. */
    readonly scaled: boolean;
  };
  /**
   * (q [B, H, T, D], k [B, G, T, D], v [B, G, T, Dv], positions [B, T], slots [B, 1 or G, C], queryWeights?
   * [B, sets, R·T], cached keys [B, G, C, D], cached values [B, G, C, Dv], scales of the keys?, scales of the values?,
   * sinks? [H], queryMask? [B, sets or T, T], logTokens? [B, 1 or G, C]) → (y [B, T, H·Dv]; where queryWeights are given: sums
   * [B, G, sets, C + T], the attention weights summed over queries; where queryMask is given: maxima
   * [B, G, sets or T, C + T], the largest weight of any query that a set has a 1 for, else 0, and any head of the
   * group. With T sets, set t is query t alone).
   *
   * Queries attend to the slots in use and to the chunk's tokens up to themselves. `slots` holds the positions of the
   * cached tokens, EMPTY_SLOT where a slot is free. Column r·T + t of queryWeights is query t of the group's head r. A
   * slot's number in logTokens is added to its scores: it stands for several tokens, and this is the logarithm of how
   * many. A sink is one more score of each query, with no value: weights add up to less than 1 then. Where the cached values
   * are the cached keys, values are the keys (latent attention).
   */
  readonly attend: ScoreAttributes &
    MaskAttributes & {
      readonly buffer: BufferChoice;
      /** Attend nodes of one group read the same slots. */
      readonly layerGroup: string;
      /** Of so many queries, from the first, one has a weight in queryWeights; the others have 0. Says nothing without them. @default 1 */
      readonly sumStep?: number;
      /** Whether sets of the queryMask leave out more than the padding of a batch. @default false */
      readonly masksQueries?: boolean;
    };
  /**
   * (echoed q [B, H, T, D], k [B, G, T, D], echoed k [B, G, T, D], positions [B, T], slots [B, 1 or G, C], echoed
   * positions [B, T], cached keys [B, G, C, D], mask [B, E, T], scales of the keys?, sinks? [H], logTokens? [B, 1 or G, C]) →
   * [B, G, E, C + T], or [B, G, E, T] of the chunk alone; E is 0 or 1.
   *
   * What the chunk's tokens would attend to if they were read once more: the queries, rotated to later positions, look
   * at the slots and at all of the chunk, and in the same softmax at a copy of the chunk, whose keys are rotated, too,
   * causally. The result is the largest weight on each slot and token of any query and any head of the
   * group. Tokens with a 0 in the mask are padding: they are not looked at, and do not count as queries; a row of them
   * alone may give anything. Slots are given as {@link attend} takes them.
   */
  readonly echo: ScoreAttributes &
    MaskAttributes & {
      readonly buffer: BufferChoice;
      /** Echo nodes of one group read the same slots. */
      readonly layerGroup: string;
      /** Whether the result has the slots, too. */
      readonly isOfHeld: boolean;
    };
  /**
   * (k [B, G, T, D], sums [B, G, 1, D], cached keys [B, G, C, D], scales of the keys?) → [B, G, C + T]: the products of
   * all keys, of the slots and of the chunk, with the sum of directions: that of the slots' keys, which is given, and k
   * / ‖k‖ of each of the chunk's. Where the buffer rotates keys, `k` and `sums` are rotated, too.
   */
  readonly keyProducts: { readonly buffer: BufferChoice };
  /**
   * (q [B, H, T, D], k [B, G, S, D], v [B, G, S, Dv], mask [B, Tc, S], added to the scores; Tc is T or 1) → y
   * [B, T, H·Dv].
   */
  readonly attendTo: ScoreAttributes;
  /**
   * (q [B, H, T, D], k [B, G, T, D], v [B, G, T, Dv], mask [B, T]: 0, or HIDDEN for padding, order [B, T]:
   * positions) → y [B, T, H·Dv]. Attention within one whole sequence.
   */
  readonly attendWithin: ScoreAttributes & MaskAttributes & { readonly causal: boolean };
  /** (x [B, H, T, D], positions [B, T]) → x · (1 + beta · ln(1 + ⌊(position + offset) / floor⌋)) */
  readonly scaleByPosition: QueryTemperature;
  /**
   * (q [B, H, T, D], weights [B, T]) → (Σ w·q [B, H, D], Σ w·q·qᵀ [B, H, D, D]), each head by itself. Of one token the
   * second may be empty.
   */
  readonly queryMoments: { readonly groups: number };

  /**
   * (logits [N, experts], bias for the choice? [experts]) → (experts int64 [N, k], weights [N, k])
   */
  readonly route: RouterSpec;
  /**
   * (x [N, E], logits [N, experts], chosen int64 [N, k], weights [N, k], then matrices as `layout` says) → [N, E]: each
   * token's experts as `spec` says, weighted and summed.
   * - `interleaved`: (gate and up [experts·2F, E], rows by turns; down [experts·E, F])
   * - `separate`: (gate [experts·F, E] where they are gated, up [experts·F, E], down [experts·E, F])
   *
   * Where they have biases, one for each matrix follows, as long as it has rows.
   */
  readonly experts: {
    readonly layout: 'interleaved' | 'separate';
    readonly spec: MoeMlp['experts'];
    readonly router: RouterSpec;
  };
  /**
   * (x [N, k or 1, in], chosen int64 [N, k], weights of each expert [out, in] … or one stack
   * [experts·out, in]) → [N, k, out]
   */
  readonly expertLinear: { readonly count: number };
  /**
   * (x [N, E], chosen int64 [N, k], weights [N, k]) → (int64 [M, 1]: the tokens that chose `expert`; their x [M, E];
   * their weights [M, 1])
   */
  readonly tokensOf: { readonly expert: number };
  /** (x [N, E], tokens int64 [M, 1], rows [M, E]) → x with the rows added */
  readonly addRows: Record<never, never>;

  /**
   * (state [B, K - 1, W], x [B, T, W], weight [K, W], bias? [W], times int64 [B, S]) → ([B, T, W], next states
   * [B, S, K - 1, W]): each channel's causal convolution, out[t] = Σ weight[i] · x[t - K + 1 + i] + bias. States after
   * as many tokens as `times` says.
   */
  readonly convolve: Record<never, never>;
  /**
   * (state [B, W], decay [B, T, W], input [B, T, W], times int64 [B, S]) → (h [B, T, W], next states [B, S, W]):
   * h[t] = decay[t] · h[t-1] + input[t]
   */
  readonly linearScan: Record<never, never>;
  /**
   * (state [B, H, V, K], q [B, T, Hk, K], k [B, T, Hk, K], v [B, T, H, V], log of the decay [B, T, H], beta [B, T, H],
   * times int64 [B, S]) → (y [B, T, H, V], next states [B, S, H, V·K]): the gated delta rule (arXiv 2412.06464). Head h
   * reads key head ⌊h · Hk / H⌋: M ← decay · M; M ← M + (beta · (v - M·k)) ⊗ k; y = M·q / √K.
   */
  readonly gatedDelta: Record<never, never>;
  /**
   * (state [B, H, P, N], x [B, T, H, P], dt [B, T, H], a [H] or [H, N], b [B, T, G, N], c [B, T, G, N], times int64
   * [B, S]) → (y [B, T, H, P], next states [B, S, H, P·N]): the scan of Mamba (arXiv 2312.00752; P = 1, a for each of
   * N) and of Mamba-2 (arXiv 2405.21060). Head h reads group ⌊h · G / H⌋, and d = softplus(dt), within the limits: M ←
   * e^(d·a) · M + (d · x) ⊗ b; y = M·c.
   */
  readonly selectiveScan: { readonly low: number; readonly high: number };
  /**
   * (x [B, H, T, in], weight [H or 1, out, in]) → [B, H, T, out]: x·weightᵀ, each head with a matrix of its own, or all
   * with one
   */
  readonly headLinear: Record<never, never>;
  /**
   * (x [B, T, W], weight [blocks, W / blocks, W / blocks], bias [W]) → [B, T, W]: a block-diagonal matrix, x·weight for
   * each block
   */
  readonly blockLinear: Record<never, never>;
  /** (positions [B, T]) → [B, T, 1]: 1 at the first token of a sequence, else 0 */
  readonly startMask: Record<never, never>;
  /** (x [B, T, E], mask [B, T]: 0, or HIDDEN for padding) → [B, E], the mean of the tokens that are no padding */
  readonly meanPool: Record<never, never>;

  /**
   * (x [..., in], a [r, in], mask? as rowVector gives it, ranks? int64 [blocks], b_0 [r_0, out_0], …) → [..., Σ out_i]:
   * x·aᵀ, masked; each block of columns takes the next r_i of the ranks. `ranks` holds the numbers r_i; null with one
   * block.
   */
  readonly lowRank: Record<never, never>;
  /** (ids int64 [B, T], b [rows, r], mask?, a [r, width]) → [B, T, width]: the same for a table of embeddings */
  readonly lowRankRows: Record<never, never>;
  /**
   * (lines [B, 1, n], ids int64 [B, T], logitRows int64 [N]) → lines of the rows of the batch, as they are multiplied
   * with or added to a value of which `over` says what its first axes are: `tokens` [B, T, ·] → [B, 1, n]; `flat`
   * [B·T, ·] → [B·T, n]; `logits` [N, ·] → [N, n]
   */
  readonly rowVector: { readonly over: 'tokens' | 'flat' | 'logits' };
  /**
   * (q [B, H, T, D], keys [b, G, n·P, D], values [b, G, n·P, Dv], gate [b, H, n], hidden [b, n, P]: 0 or
   * HIDDEN) → [B, T, H·Dv]: for each of n prefixes a softmax of its own, times the head's gate (LLaMA-Adapter,
   * arXiv 2303.16199). b is B or 1.
   */
  readonly prefixAttend: ScoreAttributes;
}

export type OpName = keyof OpAttributes;

/** One use of an operator. */
export type OpNode<K extends OpName = OpName> = {
  [P in K]: {
    readonly op: P;
    readonly inputs: readonly (Value | null)[];
    readonly attributes: OpAttributes[P];
    readonly outputs: readonly Value[];
    /** Where in the model, such as `h.0.`. */
    readonly scope: string;
  };
}[K];
