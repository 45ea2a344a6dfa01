/**
 * @file What the model of a tokenizer is.
 */

/** A word as ids. */
export type TokenModel = (word: string) => readonly number[];

export interface Vocabulary {
  readonly idOf: ReadonlyMap<string, number>;
  /** The id for what has no token. @throws TokenizerError where there is none. */
  readonly unknown: (token: string) => number;
}
