/**
 * @file Speculation: one step verifies several draft tokens.
 *
 * A drafter proposes tokens that may follow the last one. The model computes all of them in one chunk. Then tokens are
 * chosen from its logits one after the other, as without speculation: as long as each is the proposed one, the next
 * one's logits are there already. The rest is taken back from the cache.
 *
 * With float32 weights and slots the text is the same as without, as long as no token is evicted before the last one of
 * the chunk has come. {@link DecoderModel.stepLimit} says how long a chunk may be for that.
 */
import { bufferName } from '../../kvcache/buffers.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import type { DecoderModel } from '../model.ts';
import type { Proposal, SamplingOptions } from '../sampling/sampler.ts';
import type { BatchRow } from '../schedule/shared-batch.ts';
import type { Drafter, SpeculateOptions, SpeculationStats } from './drafter.ts';
import { ModelDrafter } from './model-drafter.ts';
import { NgramDrafter } from './ngram-drafter.ts';

const DEFAULT_DRAFT_TOKENS = { lookup: 8, model: 4 };

/** What a sequence has ahead of the tokens that were chosen. */
export class Speculator {
  /** The tokens to run next: the one that was chosen last, and what may follow it. */
  chunk: readonly number[] = [];
  readonly #model: DecoderModel;
  readonly #drafter: Drafter | null;
  readonly #exact: boolean;
  readonly #most: number;
  /** How many to propose: more where the last ones were right. */
  #length: number;
  #drafts: readonly Proposal[] = [];
  /** Logits [T, V] of the chunk; null where nothing is left of it. */
  #logits: Float32Array | null = null;
  /** Tokens of the cache before the chunk. */
  #base = 0;
  /** Which of the chunk's logits were given out last. */
  #at = 0;
  #steps = 0;
  #proposed = 0;
  #accepted = 0;

  /**
   * @param speculate nothing: one token after the other.
   * @throws InputError where the cache allows no speculation, or the draft model does not belong to this one.
   */
  constructor(
    model: DecoderModel,
    cache: KVCache,
    speculate: boolean | SpeculateOptions | undefined,
    sampling: SamplingOptions & { readonly signal?: AbortSignal },
  ) {
    this.#model = model;
    const options = speculate === true ? {} : speculate || null;
    const {
      draft,
      drafter,
      tokens = draft ? DEFAULT_DRAFT_TOKENS.model : DEFAULT_DRAFT_TOKENS.lookup,
      exact = true,
    } = options ?? {};
    this.#exact = exact;
    this.#most = wholeNumber('speculate.tokens', tokens);
    this.#length = this.#most;
    if (!options) {
      this.#drafter = null;
      return;
    }
    checkCache(cache, exact);
    if (draft && drafter) throw new InputError('speculate takes a draft model or a drafter, not both');
    this.#drafter = drafter ? drafter() : draft ? new ModelDrafter(model, draft, sampling) : new NgramDrafter();
  }

  /** What was proposed for the position whose logits were given last. */
  get proposal(): Proposal | null {
    return this.#logits ? (this.#drafts[this.#at] ?? null) : null;
  }

  get stats(): SpeculationStats | undefined {
    if (!this.#drafter) return undefined;
    return { steps: this.#steps, proposed: this.#proposed, accepted: this.#accepted };
  }

  /**
   * Goes on with the token that was chosen, the last of the context.
   * @returns the logits of the next position [V], if they are known; otherwise null, and {@link chunk} must be run.
   */
  async next(at: BatchRow, context: readonly number[]): Promise<Float32Array | null> {
    const token = context[context.length - 1];
    if (this.#logits) {
      if (this.#matches(token)) {
        const width = this.#logits.length / this.chunk.length;
        return this.#logits.subarray(this.#at * width, (this.#at + 1) * width);
      }
      this.#takeBack(at);
    }
    const limit = this.#drafter ? this.#model.stepLimit(at.cache, at.row, 1 + this.#length, this.#exact) : 1;
    this.#drafts = limit > 1 ? (await this.#drafter!.propose(context, limit - 1)).slice(0, limit - 1) : [];
    this.chunk = [token, ...this.#drafts.map((draft) => draft.token)];
    return null;
  }

  /**
   * The chunk was run.
   * @param logits [T, V]
   * @param before tokens of the cache before it.
   * @returns the logits of the next position [V].
   */
  accept(logits: Float32Array, before: number): Float32Array {
    this.#steps++;
    this.#proposed += this.#drafts.length;
    this.#logits = this.#drafts.length > 0 ? logits : null;
    this.#base = before;
    this.#at = 0;
    return logits.subarray(0, logits.length / this.chunk.length);
  }

  /**
   * Nothing more is chosen: takes back all that follows the token before the last one, which is left pending as it is
   * without speculation.
   * @param context all tokens that were chosen.
   */
  end(at: BatchRow, context: readonly number[]): void {
    if (!this.#logits) return;
    const chosen = context.length > this.#base + 1 + this.#at;
    if (chosen && this.#drafts[this.#at]?.token === context[context.length - 1]) this.#accepted++;
    this.#takeBack(at);
  }

  /** Whether a token is the one that was proposed; then the chunk's next logits count. */
  #matches(token: number): boolean {
    if (this.#drafts[this.#at]?.token !== token) return false;
    this.#at++;
    this.#accepted++;
    return true;
  }

  #takeBack({ cache, row, lease }: BatchRow): void {
    const right = this.#at === this.#drafts.length;
    if (!right) cache.truncate(this.#base + 1 + this.#at, row, lease);
    this.#length = right ? Math.min(this.#most, 2 * this.#length) : Math.max(1, this.#at);
    this.#logits = null;
  }
}

/** @throws InputError where part of a chunk can't be taken back, or a chunk does not compute what single steps do. */
function checkCache(cache: KVCache, exact: boolean): void {
  if (cache.rules.needsQueries)
    throw new InputError(
      `speculation takes tokens back, which the policy ${cache.policy} can't: it counts all queries; leave speculate out`,
    );
  if (exact && cache.rules.refreshes)
    throw new InputError(
      `the policy ${cache.policy} makes its scores anew after a number of tokens, and drafts that are taken back would be among them: ` +
        'leave speculate out, or allow other texts with speculate: { exact: false }',
    );
  if (cache.options.cacheBytes !== undefined)
    throw new InputError(
      'speculation takes tokens back, and a cache with cacheBytes has no memory for that; give it a cacheLength, or leave speculate out',
    );
  if (exact && bufferName(cache.buffer) !== 'float32')
    throw new InputError(
      `with a cache in ${bufferName(cache.buffer)} speculation would change the text a little, for tokens of one chunk see each other ` +
        'before they are rounded; use a float32 cache, or allow it with speculate: { exact: false }',
    );
}
