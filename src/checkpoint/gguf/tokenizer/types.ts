/**
 * @file The vocabulary in a GGUF file.
 */
import type { PackedTexts } from '../texts.ts';

/** What a GGUF file says of its tokens. Lists go by token id. */
export interface GgufVocabulary {
  /** general.architecture: some kinds of tokenizers differ by it. */
  readonly architecture: string;
  /** tokenizer.ggml.model, e.g. `gpt2`. */
  readonly model: string;
  /** tokenizer.ggml.pre: how text is cut before merges, e.g. `llama-bpe`. */
  readonly pre: string | null;
  /** All tokens, decoded when they are first asked for. */
  readonly tokens: readonly string[];
  /** The tokens as the file has them. */
  readonly packedTokens: PackedTexts;
  /** One token. */
  readonly textOf: (id: number) => string;
  readonly scores: ArrayLike<number> | null;
  /** See {@link TOKEN_TYPE}. */
  readonly types: ArrayLike<number> | null;
  /** Each is two tokens with a space between. */
  readonly merges: PackedTexts | null;
  /** Special tokens: `bos`, `eos`, `unknown`, `padding`, `seperator`, `cls`, `mask`. */
  readonly ids: Readonly<Record<string, number>>;
  readonly addBos: boolean | null;
  readonly addEos: boolean | null;
  readonly addSep: boolean | null;
  readonly addSpacePrefix: boolean | null;
  readonly removeExtraWhitespaces: boolean | null;
  readonly charsmap: Uint8Array | null;
  readonly chatTemplates: Readonly<Record<string, string>>;
  /** A whole tokenizer.json, as few files hold it. */
  readonly huggingFaceJson: string | null;
}

/** The values of tokenizer.ggml.token_type. */
export const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A part of tokenizer.json. */
export type Json = Record<string, unknown>;
