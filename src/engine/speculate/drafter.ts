/**
 * @file What proposes tokens for speculative decoding, and its options.
 */
import type { DecoderModel } from '../model.ts';
import type { Proposal } from '../sampling/sampler.ts';

/** Proposes the tokens that may follow. */
export interface Drafter {
  /**
   * @param context all tokens so far; it has only grown since the last call.
   * @returns up to `most` tokens that may follow, one after the other.
   */
  propose(context: readonly number[], most: number): Promise<readonly Proposal[]>;
}

/** What proposes tokens, and how many at once. */
export interface SpeculateOptions {
  /**
   * A smaller model with the same tokenizer.
   * @default the tokens that followed the same tokens earlier in the text (prompt lookup)
   */
  readonly draft?: DecoderModel;
  /** Makes a drafter of your own for each sequence, in place of a model. */
  readonly drafter?: () => Drafter;
  /**
   * Most tokens to propose at once.
   * @default 8, or 4 with a draft model
   */
  readonly tokens?: number;
  /**
   * Whether the text must be the same as without speculation, with float32 weights. With quantized weights logits of
   * chunks differ from those of single steps by as much as the weights' rounding, so the text may differ. false: slots
   * may be rounded and tokens evicted within a chunk, too.
   * @default true
   */
  readonly exact?: boolean;
}

/** The result of speculation. */
export interface SpeculationStats {
  /** Runs of the graph after the prompt. */
  readonly steps: number;
  /** Tokens that were proposed, and those of them that were accepted. */
  readonly proposed: number;
  readonly accepted: number;
}
