/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A loaded model that says how well texts answer a query.
 */
import type { Config } from '../config/config.ts';
import type { Encoder } from '../step/encoder-runner.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { checkOptionNames, type OptionNames } from '../util/option-names.ts';
import { Serial } from '../util/serial.ts';
import { DEFAULT_BATCH, lengthBatches } from './batches.ts';
import type { TextSettings } from './modules.ts';
import type { RankHead } from './rank-head.ts';

/** Options of `rerank`. */
export interface RerankOptions {
  /**
   * What counts as an answer, for models that read an instruction (Qwen3-Reranker).
   * @default 'Given a web search query, retrieve relevant passages that answer the query'
   */
  readonly instruction?: string;
  /**
   * Texts that are computed at once; fewer where they are long.
   * @default 32
   */
  readonly batchSize?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

const RERANK_OPTIONS = {
  instruction: 'string',
  batchSize: 'number',
  signal: 'signal',
} satisfies OptionNames<RerankOptions>;

/** A text, by its place in the list that was given, and its score. */
export interface RankedText {
  /** Its index in the list that was given. */
  readonly index: number;
  /** From 0 to 1: how likely the text answers the query. */
  readonly score: number;
  /** Tokens that were computed for it, those of the query included. */
  readonly tokens: number;
}

const INSTRUCTION = 'Given a web search query, retrieve relevant passages that answer the query';
/** How Qwen3-Reranker was trained to be asked (https://huggingface.co/Qwen/Qwen3-Reranker-0.6B). */
const ASK = {
  before:
    '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. ' +
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
  after: '<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n',
} as const;

export interface RerankerParts {
  readonly name: string;
  readonly config: Config;
  readonly encoder: Encoder;
  readonly tokenizer: Tokenizer;
  readonly head: RankHead;
  readonly text: TextSettings;
  /** `pair`: query and text are one sequence of an encoder; `question`: a decoder is asked. */
  readonly reads: 'pair' | 'question';
}

interface EncodedPair {
  readonly index: number;
  readonly ids: readonly number[];
  readonly types: readonly number[];
}

/** A model that is ready to rank. Dispose of it (`await using`, or `dispose()`) to give its native memory back. */
export class Reranker {
  /** Folder, file or hub id. */
  readonly name: string;
  /** What the model is: its layers, sizes and context. */
  readonly config: Config;
  readonly #parts: RerankerParts;
  readonly #serial = new Serial();

  constructor(parts: RerankerParts) {
    this.name = parts.name;
    this.config = parts.config;
    this.#parts = parts;
  }

  /** The checkpoint's tokenizer. */
  get tokenizer(): Tokenizer {
    return this.#parts.tokenizer;
  }

  /**
   * All texts, the best first. Texts with the same score keep their order.
   * @throws InputError for options or texts that can't be meant; TokenizerError; the signal's reason.
   */
  async rerank(query: string, texts: readonly string[], options: RerankOptions = {}): Promise<RankedText[]> {
    checkOptionNames('rerank', options, RERANK_OPTIONS);
    const batchSize = wholeNumber('batchSize', options.batchSize ?? DEFAULT_BATCH);
    if (typeof query !== 'string') throw new InputError(`the query must be a string, but is a ${typeof query}`);
    if (!Array.isArray(texts)) throw new InputError('the texts to rank must be a list of strings');
    if (options.instruction !== undefined && this.#parts.reads === 'pair')
      throw new InputError(`${this.config.name} models read no instruction: leave it out`);
    const pairs = texts.map((text: unknown, index) => {
      if (typeof text !== 'string') throw new InputError(`text ${index} must be a string, but is a ${typeof text}`);
      return { index, ...this.#encode(query, text, options.instruction ?? INSTRUCTION) };
    });
    const scores: RankedText[] = [];
    for (const batch of lengthBatches(pairs, batchSize)) {
      options.signal?.throwIfAborted();
      scores.push(...(await this.#serial.run(() => this.#score(batch))));
    }
    return scores.sort((a, b) => b.score - a.score || a.index - b.index);
  }

  /** Gives native memory back, once a run that is under way is done. The model can't be used afterwards. */
  dispose(): Promise<void> {
    return this.#serial.run(() => this.#parts.encoder.dispose());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #encode(query: string, text: string, instruction: string): Omit<EncodedPair, 'index'> {
    const { tokenizer, config, reads, text: settings } = this.#parts;
    if (reads === 'pair') {
      const [first, second] = [settings.defaultPrompt + query, text].map((part) =>
        settings.lowerCase ? part.toLowerCase() : part,
      );
      return tokenizer.encodePair(first, second, Math.min(config.contextLength, settings.maxLength ?? Infinity));
    }
    const plain = (part: string) => tokenizer.encode(part, { addSpecialTokens: false });
    const [before, after] = [plain(ASK.before), plain(ASK.after)];
    const asked = plain(`<Instruct>: ${instruction}\n<Query>: ${query}\n<Document>: ${text}`);
    const most = config.contextLength - before.length - after.length;
    if (most < 1)
      throw new InputError(`${this.name} takes ${config.contextLength} tokens, fewer than a question needs`);
    return { ids: [...before, ...asked.slice(0, most), ...after], types: [] };
  }

  async #score(batch: readonly EncodedPair[]): Promise<RankedText[]> {
    const { encoder, head, config } = this.#parts;
    const tokenTypes = config.tokenTypes > 1 ? batch.map(({ types }) => types) : undefined;
    const ids = batch.map((pair) => pair.ids);
    const { data, shape, lengths } = await encoder.run({ ids }, { output: 'hidden', tokenTypes });
    const [, T, width] = shape;
    return batch.map(({ index }, b) => {
      const states = data.subarray(b * T * width, (b * T + lengths[b]) * width);
      return { index, score: 1 / (1 + Math.exp(-head(states, width))), tokens: lengths[b] };
    });
  }
}
