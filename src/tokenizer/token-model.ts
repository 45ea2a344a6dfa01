/**
 * @file What the model of a tokenizer is.
 */

/** A word as ids. */
export type TokenModel = (word: string) => readonly number[];

/** In place of model.vocab where the file was no JSON. */
export interface ReadVocabulary extends TokenIds {
  readonly maxId: number;
  /** The token of an id; undefined where there is none. */
  tokenOf(id: number): string | undefined;
}

/** In place of model.merges where the file was no JSON. */
export interface ReadMerges {
  /** Of the left token, the right one and what they become, merge after merge. Made when they are asked for. */
  readonly ids: Int32Array;
}

/** Ids of tokens. */
export type TokenIds = Pick<ReadonlyMap<string, number>, 'get' | 'has'>;

export interface Vocabulary {
  readonly idOf: TokenIds;
  /** The id for what has no token. @throws TokenizerError where there is none. */
  readonly unknown: (token: string) => number;
}
