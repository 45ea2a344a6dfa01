/** @file What an MLP is: plain, gated, or a mixture of experts with its router; the activations. */
import type { NormSpec } from './norm-spec.ts';

export const ACTIVATIONS = ['silu', 'gelu', 'gelu-tanh', 'quick-gelu', 'relu', 'relu2', 'tanh'] as const;
export type Activation = (typeof ACTIVATIONS)[number];

/**
 * act(fc(x)), projected. `xielu` (arXiv 2411.13010) has four learned numbers: `act.alpha_p`, `act.alpha_n`, `act.beta`,
 * `act.eps`.
 */
export interface PlainMlp {
  readonly kind: 'plain';
  /** F */
  readonly size: number;
  readonly bias: boolean;
  readonly activation: Activation | 'xielu';
}

/** act(fc_1(x)) · fc_2(x), projected. */
export interface GatedMlp {
  readonly kind: 'gated';
  readonly size: number;
  readonly bias: boolean;
  readonly activation: Activation;
  /** Factors of fc_1(x) before the activation, and of the result. @default 1 */
  readonly scales?: { readonly gate: number; readonly out: number };
  /**
   * Of fc_1(x) only as much counts as is above the mean by so many deviations that this share of normal numbers is
   * below (Gemma 3n).
   * @default 0
   */
  readonly sparsity?: number;
}

/**
 * How a token's experts are chosen and weighted: scores = score(gate · x + bias); the best k of scores + choiceBias
 * within the chosen groups; weights = scores of those chosen, normalized, times scale.
 */
export interface RouterSpec {
  /** k: experts of a token. */
  readonly perToken: number;
  /**
   * `softmax`: over all experts; `softmax-chosen`: over the logits of those chosen; sparsemixer's two rounds
   * (arXiv 2409.12136).
   */
  readonly score: 'softmax' | 'sigmoid' | 'softmax-chosen' | 'sparsemixer';
  /** The gate has a bias (`gate.bias`). */
  readonly bias: boolean;
  /**
   * A vector (`choice_bias` [experts]) is added to the scores for the choice, and not to the weights (DeepSeek-V3,
   * arXiv 2412.19437).
   */
  readonly choiceBias: boolean;
  /**
   * Experts lie in `count` groups, and the choice is among the best `perToken` of them: by their best score, or their
   * two best.
   */
  readonly groups: { readonly count: number; readonly perToken: number; readonly by: 'max' | 'top-2' } | null;
  /** The weights of those chosen are divided by their p-norm; null: they stay as they are. */
  readonly normP: number | null;
  /** Added to that norm, and its least value. */
  readonly normEps: number;
  readonly normMin: number;
  /** Weights are multiplied with it. */
  readonly scale: number;
  /** Threshold of sparsemixer. */
  readonly jitter: number;
  /**
   * The gate reads the stream through a norm of its own (`gate_norm`), and its logits are divided by √E (Gemma 4).
   * @default none
   */
  readonly inputNorm?: NormSpec;
  /** Weights are multiplied with a learned number of each expert (`expert_scale` [experts]). @default false */
  readonly expertScale?: boolean;
}

export interface SharedMlp {
  readonly size: number;
  /** Its result is multiplied with a sigmoid of the token. */
  readonly gate: boolean;
  /**
   * Gate and experts read the stream itself, the experts through a norm (`experts_norm_1`), and both results are
   * normalized (`experts_norm_2`, `shared_norm`) before they are added (Gemma 4).
   * @default none
   */
  readonly norms?: NormSpec;
}

/** A mixture of experts. */
export interface MoeMlp {
  readonly kind: 'moe';
  readonly router: RouterSpec;
  readonly experts: {
    readonly count: number;
    /** F of one expert. */
    readonly size: number;
    readonly bias: boolean;
    readonly activation: Activation;
    /** act(fc_1) · fc_2, or act(fc) alone. */
    readonly gated: boolean;
    /** GPT-OSS: gate at most, and up within ±, limit; (up + 1) · gate · σ(1.702 · gate). */
    readonly clamp: number | null;
    /** What an expert reads is multiplied with its weight, instead of what it gives (Llama 4). */
    readonly scaledInput: boolean;
    /**
     * The width that experts work in, between two matrices that all share (Nemotron 3 Super); null: that of the model.
     */
    readonly latent: number | null;
  };
  /** A gated MLP that every token goes through besides. */
  readonly shared: SharedMlp | null;
  /** A bias of the sum. */
  readonly outputBias: boolean;
}

/** The MLP of a layer. */
export type MlpSpec = PlainMlp | GatedMlp | MoeMlp;
