/**
 * @file Text to token ids and back, by a checkpoint's tokenizer.json.
 */
import { type Encoding, Tokenizer as Pipeline } from '@huggingface/tokenizers';
import { InputError, TokenizerError } from '../util/errors.ts';
import { adaptTokenizerJson } from './adapt-json.ts';
import { checkTokenizerJson, type TokenTable, tokenText, tokenTexts } from './check-json.ts';
import { decodesInPieces } from './decoder-kind.ts';

export interface EncodeOptions {
  /** Add what the tokenizer puts around a text, such as `<s>` before it; true unless stated. */
  readonly addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens, such as `</s>`, out of the text; true unless stated. */
  readonly skipSpecialTokens?: boolean;
}

/**
 * A tokenizer as Hugging Face's, by @huggingface/tokenizers. It has no state: one serves any number of sequences.
 */
export class Tokenizer {
  /** The highest id there is, added tokens included, and one more. There may be ids without a token below it. */
  readonly vocabSize: number;
  /** The same without added tokens: what any text may be made of. */
  readonly ownVocabSize: number;
  /** Tokens that are marks for the model and no text. */
  readonly specialTokenIds: ReadonlySet<number>;
  /** The token before a text; null where tokenizer_config.json names none, or one that there isn't. */
  readonly bosTokenId: number | null;
  /** The token after a text; null as for {@link bosTokenId}. */
  readonly eosTokenId: number | null;
  /** tokenizer_config.json as it is. */
  readonly config: Readonly<Record<string, unknown>>;
  /** @internal Whether longer lists of ids only ever add to the text of shorter ones. */
  readonly decodesInPieces: boolean;
  readonly #pipeline: Pipeline;

  private constructor(pipeline: Pipeline, parts: TokenizerParts) {
    const { json, config, table, marks } = parts;
    this.#pipeline = pipeline;
    keepByteOrderMarks(pipeline.decoder);
    this.config = config;
    this.vocabSize = table.maxId + 1;
    this.ownVocabSize = table.maxOwnId + 1;
    const special = new Set([...table.special, ...marks]);
    const ids = new Set<number>();
    for (let id = 0; id < this.vocabSize; id++) {
      const token = pipeline.id_to_token(id);
      if (token !== undefined && special.has(token)) ids.add(id);
    }
    this.specialTokenIds = ids;
    const idOf = (key: string) => this.tokenToId(tokenText(config[key], key) ?? '') ?? null;
    this.bosTokenId = idOf('bos_token');
    this.eosTokenId = idOf('eos_token');
    this.decodesInPieces = decodesInPieces(json);
  }

  /**
   * @param tokenizerJson the content of tokenizer.json.
   * @param tokenizerConfig the content of tokenizer_config.json; `{}` where there is none.
   * @throws TokenizerError where a file is damaged, or asks for what is not supported.
   */
  static fromJson(
    tokenizerJson: Readonly<Record<string, unknown>>,
    tokenizerConfig: Readonly<Record<string, unknown>>,
  ): Tokenizer {
    for (const [name, value] of Object.entries({ tokenizerJson, tokenizerConfig }))
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        throw new TokenizerError(`${name} must be an object: the parsed content of its file`);
    try {
      const json = adaptTokenizerJson(tokenizerJson);
      const table = checkTokenizerJson(json);
      const marks = tokenTexts(tokenizerConfig['additional_special_tokens'], 'additional_special_tokens');
      const pipeline = new Pipeline(json, pipelineConfig(tokenizerConfig));
      const tokenizer = new Tokenizer(pipeline, { json, config: tokenizerConfig, table, marks });
      // Some of its parts are looked at only when they run.
      tokenizer.decode(tokenizer.encode('a b'), { skipSpecialTokens: false });
      return tokenizer;
    } catch (error) {
      if (error instanceof TokenizerError) throw error;
      throw new TokenizerError(`tokenizer.json can't be used: ${reasonOf(error)}`);
    }
  }

  /**
   * The ids of a text. Half a surrogate pair counts as U+FFFD, for it has no UTF-8.
   * @throws TokenizerError for text that the tokenizer has no tokens for.
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    if (typeof text !== 'string') throw new InputError(`the text to encode must be a string, but is a ${typeof text}`);
    const wellFormed = text.replace(/\p{Surrogate}/gu, '\uFFFD');
    const { ids, tokens } = this.#encode(wellFormed, options.addSpecialTokens ?? true);
    const missing = ids.findIndex((id: unknown) => typeof id !== 'number');
    if (missing >= 0)
      throw new TokenizerError(
        `tokenizer.json has no token for ${JSON.stringify(tokens[missing])}, and no token for what is unknown`,
      );
    return ids;
  }

  #encode(text: string, addSpecialTokens: boolean): Encoding {
    try {
      return this.#pipeline.encode(text, { add_special_tokens: addSpecialTokens });
    } catch (error) {
      throw new TokenizerError(
        `tokenizer.json can't encode a text of ${text.length} characters: ${reasonOf(error)}` +
          (error instanceof RangeError ? '; encode it in smaller parts' : ''),
      );
    }
  }

  /**
   * The text of ids, with its spaces as they are (nothing is cleaned up). Ids below {@link vocabSize} that have no token
   * have no text, as in Hugging Face's. Bytes that are no UTF-8 become U+FFFD by the rules of the web (Encoding
   * Standard), so that valid characters beside them stay.
   * @throws InputError for ids out of range.
   */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const skip = options.skipSpecialTokens ?? true;
    const kept: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (!Number.isSafeInteger(id) || id < 0 || id >= this.vocabSize)
        throw new InputError(`token id ${id} (place ${i}) is not one of the tokenizer's, 0 to ${this.vocabSize - 1}`);
      if (!(skip && this.specialTokenIds.has(id)) && this.idToToken(id) !== undefined) kept.push(id);
    }
    return kept.length === 0 ? '' : this.#pipeline.decode(kept, { clean_up_tokenization_spaces: false });
  }

  /** The id of a token as it is written in the vocabulary (`Ġthe`, `▁the`), not of a text. */
  tokenToId(token: string): number | undefined {
    return this.#pipeline.token_to_id(token);
  }

  /** The token as it is written in the vocabulary. */
  idToToken(id: number): string | undefined {
    return this.#pipeline.id_to_token(id);
  }
}

interface TokenizerParts {
  readonly json: Readonly<Record<string, unknown>>;
  readonly config: Readonly<Record<string, unknown>>;
  readonly table: TokenTable;
  /** Texts that tokenizer_config.json calls special. */
  readonly marks: readonly string[];
}

/** What the library reads of tokenizer_config.json, tokens as plain text. */
function pipelineConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const key of ['bos_token', 'eos_token', 'unk_token', 'pad_token'])
    out[key] = tokenText(config[key], key) ?? undefined;
  for (const key of ['remove_space', 'do_lowercase_and_remove_accent']) out[key] = config[key] === true;
  return out;
}

/** Byte fallback would take the bytes of U+FEFF for the mark of a file, and drop them. */
function keepByteOrderMarks(decoder: Pipeline['decoder']): void {
  if (!decoder) return;
  if ('decoders' in decoder && Array.isArray(decoder.decoders)) decoder.decoders.forEach(keepByteOrderMarks);
  if ('text_decoder' in decoder) decoder.text_decoder = new TextDecoder('utf-8', { ignoreBOM: true });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
