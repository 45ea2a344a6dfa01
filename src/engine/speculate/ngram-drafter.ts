/**
 * @file Prompt lookup: texts repeat themselves, so what followed the same tokens before may follow them again.
 */
import type { Proposal } from '../sampling/sampler.ts';
import type { Drafter } from './drafter.ts';

/** Earlier indices that are compared, the most recent first. */
const MOST_INDICES = 16;
/** More tokens in common than this say nothing more. */
const MOST_COMMON = 16;
/** More than any vocabulary has. */
const RADIX = 2 ** 22;

/**
 * Finds the earlier index with the most tokens in common (at least two), and proposes what came after it (Saxena 2023,
 * prompt lookup decoding; also arXiv 2304.04487).
 */
export class NgramDrafter implements Drafter {
  /** By pair of tokens: where the last one ended. */
  readonly #last = new Map<number, number>();
  /** By index: where the pair of tokens that ends there ended before; -1: nowhere. */
  readonly #before: number[] = [];

  async propose(context: readonly number[], most: number): Promise<readonly Proposal[]> {
    this.#index(context);
    const end = context.length - 1;
    let best = -1;
    let longest = 0;
    let index = this.#before[end] ?? -1;
    for (let tries = 0; index >= 0 && tries < MOST_INDICES && longest < MOST_COMMON; tries++) {
      const common = inCommon(context, index, end);
      if (common > longest) {
        longest = common;
        best = index;
      }
      index = this.#before[index];
    }
    if (best < 0) return [];
    const tokens: number[] = [];
    // What is proposed may itself be repeated: the text then goes on in circles.
    for (let i = best + 1; tokens.length < most; i++) tokens.push(i <= end ? context[i] : tokens[i - end - 1]);
    return tokens.map((token) => ({ token, probabilities: null }));
  }

  /** Enters the tokens that are new. */
  #index(context: readonly number[]): void {
    for (let at = this.#before.length; at < context.length; at++) {
      const pair = at === 0 ? -1 : context[at - 1] * RADIX + context[at];
      this.#before.push(this.#last.get(pair) ?? -1);
      if (at > 0) this.#last.set(pair, at);
    }
  }
}

/** How many tokens that end at two indices are equal. */
function inCommon(context: readonly number[], a: number, b: number): number {
  let common = 0;
  while (common < MOST_COMMON && a - common >= 0 && context[a - common] === context[b - common]) common++;
  return common;
}
