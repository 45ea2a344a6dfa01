/**
 * @file A smaller model that proposes what a larger one may write.
 */
import type { KVCache } from '../../kvcache/kv-cache.ts';
import { InputError } from '../../util/errors.ts';
import type { DecoderModel } from '../model.ts';
import { type Proposal, Sampler, type SamplingOptions } from '../sampling/sampler.ts';
import { prefill } from '../schedule/prefill.ts';
import type { Drafter } from './drafter.ts';

export class ModelDrafter implements Drafter {
  readonly #draft: DecoderModel;
  readonly #sampler: Sampler;
  readonly #signal: AbortSignal | undefined;
  /** Whether layers with a sliding window give up what going back would need. */
  readonly #windowed: boolean;
  #cache: KVCache;
  /** The cache before its last proposal, where it can't go back by itself. */
  #before: { readonly cache: KVCache; readonly length: number } | null = null;
  /** What the cache holds, and how much of it was confirmed. */
  #fed: number[] = [];
  #right = 0;

  /** @throws InputError where the models' tokens differ. */
  constructor(
    model: DecoderModel,
    draft: DecoderModel,
    { signal, ...sampling }: SamplingOptions & { readonly signal?: AbortSignal },
  ) {
    checkSameVocabulary(model, draft);
    this.#draft = draft;
    // A seed of its own, so that the larger model's draws are as without it. Processors are left out: they may count
    // their calls.
    const seed = sampling.seed === undefined ? undefined : (sampling.seed ^ 0x5eed) >>> 0;
    this.#sampler = new Sampler({ ...sampling, seed, processors: [] });
    this.#signal = signal;
    this.#cache = draft.createCache();
    this.#windowed = this.#cache.shape.layers.some(({ window }) => window !== null);
  }

  async propose(context: readonly number[], most: number): Promise<readonly Proposal[]> {
    if (context.length + most - 1 > this.#cache.cacheLength) return [];
    this.#goBack(context);
    let logits = await this.#feed(context.slice(this.#fed.length));
    if (this.#windowed) this.#before = { cache: this.#cache.fork(), length: context.length };
    const proposals: Proposal[] = [];
    const tokens = [...context];
    for (;;) {
      const proposal = this.#sampler.propose(logits, { tokens, promptLength: context.length });
      proposals.push(proposal);
      tokens.push(proposal.token);
      if (proposals.length >= most) return proposals;
      logits = await this.#feed([proposal.token]);
    }
  }

  /** Brings the cache to what it holds of the context, short of the last token, whose logits are wanted. */
  #goBack(context: readonly number[]): void {
    const fed = this.#fed;
    const most = Math.min(fed.length, context.length - 1);
    while (this.#right < most && fed[this.#right] === context[this.#right]) this.#right++;
    if (this.#right === fed.length) return;
    if (this.#before) {
      this.#cache = this.#before.cache;
      this.#right = this.#before.length;
    } else {
      this.#cache.truncate(this.#right);
    }
    fed.length = this.#right;
  }

  async #feed(tokens: readonly number[]): Promise<Float32Array> {
    for (const token of tokens) this.#fed.push(token);
    return prefill(this.#draft, this.#cache, tokens, { signal: this.#signal, phase: 'decode' });
  }
}

/** @throws InputError for models whose tokens mean different things. */
function checkSameVocabulary(model: DecoderModel, draft: DecoderModel): void {
  const refuse = (why: string): never => {
    throw new InputError(
      `${draft.name} can't draft for ${model.name}: ${why}; both must have the same tokenizer, as models of one family have`,
    );
  };
  if (!model.hasTokenizer || !draft.hasTokenizer) {
    const [a, b] = [model.config.vocabSize, draft.config.vocabSize];
    if (a !== b) refuse(`it has ${b} tokens, not ${a}`);
    return;
  }
  const [a, b] = [model.tokenizer, draft.tokenizer];
  if (a.ownVocabSize !== b.ownVocabSize) refuse(`its tokenizer has ${b.ownVocabSize} tokens, not ${a.ownVocabSize}`);
  for (let id = 0; id < Math.max(a.vocabSize, b.vocabSize); id++)
    if (a.idToToken(id) !== b.idToToken(id)) refuse(`token ${id} of its tokenizer is another`);
}
