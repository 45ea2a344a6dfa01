/**
 * @file Which prompt is read next, and in chunks of which length.
 */

/** A prompt that waits for its next chunk. */
export interface WaitingPrompt {
  /** Tokens to come. */
  readonly promptLeft: number;
  /** Rounds in which another prompt was read. */
  readonly passedOver: number;
}

/** Tokens that a round of waiting counts for: a prompt of n chunks of 64 waits for at most 4n others. */
const AGE = 16;

/**
 * The prompt with the fewest tokens to come, less its age: short ones first, and long ones in the end. Of equal ones
 * the first.
 */
export function shortestFirst<T extends WaitingPrompt>(prompts: readonly T[]): T | undefined {
  const rank = ({ promptLeft, passedOver }: T) => promptLeft - AGE * passedOver;
  return prompts.reduce<T | undefined>(
    (best, prompt) => (best && rank(best) <= rank(prompt) ? best : prompt),
    undefined,
  );
}

/** Fewer tokens a chunk read a prompt half as fast, for the weights are read for each chunk. */
const SHORTEST = 2;
const LONGEST = 64;
/** Before anything was measured. */
const FIRST = 8;
/**
 * Steps that one chunk may take as long as: with the step itself, which is slower after a chunk, the time between two
 * tokens is below three steps.
 */
const STEPS_A_CHUNK = 1.6;
/** Weight of the newest measurement. */
const NEWEST = 0.3;
/**
 * A measurement counts as at most so many times the mean: one disturbed step of 390 ms made the next three chunks 250
 * ms long.
 */
const MOST_CHANGE = 1.5;

/** How long a chunk may be while other sequences decode, by the measured times of both. */
export class PromptPace {
  #stepMs = Number.NaN;
  #tokenMs = Number.NaN;

  /** A step of the sequences that decode took so long. */
  stepTook(ms: number): void {
    this.#stepMs = mixed(this.#stepMs, ms);
  }

  /** A chunk of a prompt took so long. */
  chunkTook(tokens: number, ms: number): void {
    // A chunk of a few tokens is a step: the weights are read for it, too.
    if (tokens >= SHORTEST) this.#tokenMs = mixed(this.#tokenMs, ms / tokens);
  }

  get chunkLength(): number {
    const tokens = Math.floor((STEPS_A_CHUNK * this.#stepMs) / this.#tokenMs);
    return Number.isNaN(tokens) ? FIRST : Math.max(SHORTEST, Math.min(LONGEST, tokens));
  }
}

function mixed(old: number, ms: number): number {
  return Number.isNaN(old) ? ms : old + NEWEST * (Math.min(ms, MOST_CHANGE * old) - old);
}
