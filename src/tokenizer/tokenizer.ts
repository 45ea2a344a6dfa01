/**
 * @file Text to token ids and back, by a checkpoint's tokenizer.json.
 */
import { checkArgument } from '../util/arguments.ts';
import { InputError, TokenizerError } from '../util/errors.ts';
import { INSPECT, inspected } from '../util/inspected.ts';
import { isObject } from '../util/json/is-object.ts';
import { checkOptionsObject, isList, shown } from '../util/option-names.ts';
import { RegexError } from '../util/regex/regex.ts';
import { AddedTokens } from './added-tokens.ts';
import { checkTokenizerJson, type TokenTable, tokenText, tokenTexts } from './check-json.ts';
import { decodesInPieces } from './decoder-kind.ts';
import { type Decoder, decoder } from './decoders.ts';
import type { Json } from './fields.ts';
import { tokenModel } from './models.ts';
import { normalizer } from './normalizers.ts';
import {
  flaggedPostProcessor,
  type PairProcessor,
  type PostProcessor,
  pairProcessor,
  postProcessor,
} from './post-processors.ts';
import { type PreTokenizer, preTokenizer } from './pre-tokenizers.ts';
import { tokenBytesOf } from './token-bytes.ts';
import type { TokenModel } from './token-model.ts';

/** Options of `encode`. */
export interface EncodeOptions {
  /** Add what the tokenizer puts around a text, such as `<s>` before it. @default true */
  readonly addSpecialTokens?: boolean;
  /** Tokens at most, special tokens included; the end of a longer text is left out. @default any number */
  readonly maxLength?: number;
}

/** Options of `decode`. */
export interface DecodeOptions {
  /** Leave special tokens, such as `</s>`, out of the text. @default true */
  readonly skipSpecialTokens?: boolean;
}

/**
 * A tokenizer as Hugging Face's, from the parts that tokenizer.json names. It has no state: one serves any number of
 * sequences.
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
  readonly #idOf: (token: string) => number | undefined;
  readonly #tokenOf: (id: number) => string | undefined;
  readonly #added: AddedTokens;
  readonly #preTokenize: PreTokenizer;
  readonly #model: TokenModel;
  readonly #postProcess: PostProcessor;
  readonly #postJson: unknown;
  #pairProcess: PairProcessor | null = null;
  readonly #decode: Decoder;
  readonly #bytesOf: (token: string) => Uint8Array;

  private constructor(json: Json, config: Json) {
    checkArgument('Tokenizer.fromJson', 'the parsed content of tokenizer.json', json, isObject(json));
    checkArgument('Tokenizer.fromJson', 'the parsed content of tokenizer_config.json', config, isObject(config));
    const table = checkTokenizerJson(json);
    const normalize = normalizer(json['normalizer']);
    this.config = config;
    this.vocabSize = table.maxId + 1;
    this.ownVocabSize = table.maxOwnId + 1;
    const { idOf, tokenOf } = namesOf(table);
    this.#idOf = idOf;
    this.#tokenOf = tokenOf;
    this.#added = new AddedTokens(table.added, normalize);
    this.#preTokenize = preTokenizer(json['pre_tokenizer']);
    this.#model = tokenModel(json['model'] as Json, table.idOf);
    this.#decode = decoder(json['decoder']);
    const marks = tokenTexts(config['additional_special_tokens'], 'additional_special_tokens');
    const special = [...table.special, ...marks].map(idOf);
    this.specialTokenIds = new Set(special.filter((id) => id !== undefined).sort((a, b) => a - b));
    const tokenId = (key: string) => this.tokenToId(tokenText(config[key], key) ?? '') ?? null;
    this.bosTokenId = tokenId('bos_token');
    this.eosTokenId = tokenId('eos_token');
    this.#postProcess =
      flaggedPostProcessor(config, this.bosTokenId, this.eosTokenId) ?? postProcessor(json['post_processor'], idOf);
    this.#postJson = json['post_processor'];
    this.decodesInPieces = decodesInPieces(json);
    this.#bytesOf = tokenBytesOf(json['decoder'], this.#decode);
  }

  /**
   * Makes a tokenizer of the parsed files of a checkpoint.
   * @param tokenizerJson the content of tokenizer.json.
   * @param tokenizerConfig the content of tokenizer_config.json; `{}` where there is none.
   * @throws TokenizerError where a file is damaged, or asks for what is not supported; InputError for what is no object.
   */
  static fromJson(
    tokenizerJson: Readonly<Record<string, unknown>>,
    tokenizerConfig: Readonly<Record<string, unknown>>,
  ): Tokenizer {
    try {
      return new Tokenizer(tokenizerJson, tokenizerConfig);
    } catch (error) {
      if (error instanceof RangeError)
        throw new TokenizerError('tokenizer.json is nested too deep, or has too many tokens', { cause: error });
      throw error;
    }
  }

  /**
   * The ids of a text. Half a surrogate pair counts as U+FFFD, for it has no UTF-8.
   * @throws TokenizerError for text that the tokenizer has no tokens for.
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    if (typeof text !== 'string') throw new InputError(`the text to encode must be a string, but is ${shown(text)}`);
    checkOptionsObject('encode', options);
    const ids = this.#encode(text.replace(/\p{Surrogate}/gu, '\uFFFD'));
    const { addSpecialTokens = true, maxLength = Number.POSITIVE_INFINITY } = options;
    const process = addSpecialTokens ? this.#postProcess : (kept: readonly number[]) => kept;
    return [...process(ids.slice(0, Math.max(0, maxLength - process([]).length)))];
  }

  /**
   * The ids of two texts together, as models that compare them read them, and of which text each id is (token types).
   * The longer one is cut first.
   * @throws TokenizerError as {@link encode}; also where tokenizer.json does not say how pairs are put together.
   */
  encodePair(first: string, second: string, maxLength = Number.POSITIVE_INFINITY): { ids: number[]; types: number[] } {
    this.#pairProcess ??= pairProcessor(this.#postJson, this.#idOf);
    const [a, b] = [first, second].map((text) => this.encode(text, { addSpecialTokens: false }));
    const most = Math.max(0, maxLength - this.#pairProcess([], []).ids.length);
    const [ofA, ofB] = pairLengths(a.length, b.length, most);
    return this.#pairProcess(a.slice(0, ofA), b.slice(0, ofB));
  }

  #encode(text: string): number[] {
    const ids: number[] = [];
    try {
      for (const part of this.#added.split(text)) {
        if ('id' in part) ids.push(part.id);
        else for (const { text: word } of this.#preTokenize(part)) for (const id of this.#model(word)) ids.push(id);
      }
    } catch (error) {
      if (!(error instanceof RegexError || error instanceof RangeError)) throw error;
      throw new TokenizerError(
        `tokenizer.json can't encode a text of ${text.length} characters: ${error.message}; encode it in smaller parts`,
        { cause: error },
      );
    }
    return ids;
  }

  /**
   * The text of ids, with its spaces as they are (nothing is cleaned up). Ids below {@link vocabSize} that have no
   * token have no text, as in Hugging Face's. Bytes that are no UTF-8 become U+FFFD by the rules of the web (Encoding
   * Standard), so that valid characters beside them stay.
   * @throws InputError for ids out of range.
   */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    checkOptionsObject('decode', options);
    const skip = options.skipSpecialTokens ?? true;
    const kept: string[] = [];
    if (!isList(ids)) throw new InputError(`the token ids to decode must be an array, but are ${shown(ids)}`);
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (!Number.isSafeInteger(id) || id < 0 || id >= this.vocabSize)
        throw new InputError(
          `token id ${shown(id)} (index ${i}) is not one of the tokenizer's, 0 to ${this.vocabSize - 1}`,
        );
      const token = this.#tokenOf(id);
      if (token !== undefined && !(skip && this.specialTokenIds.has(id))) kept.push(token);
    }
    return this.#decode(kept).join('');
  }

  /** The id of a token as it is written in the vocabulary (`Ġthe`, `▁the`), not of a text. */
  tokenToId(token: string): number | undefined {
    return this.#idOf(token);
  }

  /**
   * What a token adds to a text, as bytes of UTF-8: some tokens are a part of a character. null for special tokens,
   * which are no text, for ids without a token, and for tokenizers whose decoder does not work token by token.
   */
  tokenBytes(id: number): Uint8Array | null {
    const token = this.#tokenOf(id);
    if (token === undefined || !this.decodesInPieces || this.specialTokenIds.has(id)) return null;
    return this.#bytesOf(token);
  }

  /** The token as it is written in the vocabulary. */
  idToToken(id: number): string | undefined {
    return this.#tokenOf(id);
  }

  /** @internal */
  [INSPECT](): string {
    return inspected('Tokenizer', { vocabSize: this.vocabSize });
  }
}

/**
 * How many tokens of each stay where both together may have `most`: the longer one is cut first (Hugging Face's
 * longest_first).
 */
function pairLengths(a: number, b: number, most: number): [number, number] {
  if (a + b <= most) return [a, b];
  const short = Math.min(a, b);
  const long = short > most ? short : Math.max(short, most - short);
  const even = Math.floor(most / 2);
  const [kept, rest] = short + long > most ? [even, even + (most % 2)] : [short, long];
  return a > b ? [rest, kept] : [kept, rest];
}

/** Tokens and ids of the model and the added ones, which go before. */
function namesOf({ idOf, tokenOf, added }: TokenTable) {
  // A copy of all tokens would take longer than all lookups.
  const ids = new Map<string, number>();
  const tokens = new Map<number, string>();
  for (const json of added) {
    ids.set(json['content'] as string, json['id'] as number);
    tokens.set(json['id'] as number, json['content'] as string);
  }
  return {
    idOf: (token: string) => ids.get(token) ?? idOf.get(token),
    tokenOf: (id: number) => tokens.get(id) ?? tokenOf(id),
  };
}
