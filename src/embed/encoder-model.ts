/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A loaded model that makes vectors of texts.
 */
import { type Config, isEncoder } from '../config/config.ts';
import { keepsSlots } from '../config/layer-spec.ts';
import type { EncodeOptions, EncodeResult, Encoder, EncoderInput } from '../step/encoder-runner.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { checkArgument } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { wholeNumber } from '../util/numbers.ts';
import { checkOptionNames, checkOptionsObject, isList, type OptionNames, shown } from '../util/option-names.ts';
import { Serial } from '../util/serial.ts';
import { DEFAULT_BATCH, lengthBatches } from './batches.ts';
import type { EmbedModules, SimilarityName } from './modules.ts';
import { applyDense, checkPooling, layerNormed, normalized, type Pooling, pool } from './pooling.ts';
import { similarity } from './similarity.ts';

/** Options of `embed`. */
export interface EmbedOptions {
  /**
   * How the states of the tokens become one vector; of several, the vectors stand one behind the other.
   * @default as the model's files say, else `mean` for encoders, and `last` for models that write text
   */
  readonly pooling?: Pooling | readonly Pooling[];
  /**
   * Whether vectors get the length 1, so that their dot product is their cosine.
   * @default as modules.json says, else true
   */
  readonly normalize?: boolean;
  /**
   * How many numbers a vector has: the first so many, for models that were trained for it (Matryoshka). Vectors that
   * have the length 1 get it again.
   * @default all
   */
  readonly dimensions?: number;
  /**
   * Text that is put before each text, such as `'query: '`.
   * @default the model's default prompt, if it has one
   */
  readonly prompt?: string;
  /** Name of one of the model's own prompts ({@link EncoderModel.prompts}), instead of `prompt`. */
  readonly promptName?: string;
  /**
   * Texts that are computed at once; fewer where they are long.
   * @default 32
   */
  readonly batchSize?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

const EMBED_OPTIONS = {
  pooling: true,
  normalize: 'boolean',
  dimensions: 'number',
  prompt: 'string',
  promptName: 'string',
  batchSize: 'number',
  signal: 'signal',
} satisfies OptionNames<EmbedOptions>;

/** What an {@link EncoderModel} is put together from. */
export interface EncoderModelParts {
  readonly name: string;
  /** As the checkpoint has it: `output` tells encoders from models that write text. */
  readonly config: Config;
  readonly encoder: Encoder;
  readonly tokenizer: Tokenizer | null;
  readonly modules: EmbedModules;
}

/** A text as the model reads it. */
interface EncodedText {
  readonly index: number;
  readonly ids: readonly number[];
  /** The first token that is pooled. */
  readonly from: number;
}

/** A model that is ready to embed. Dispose of it (`await using`, or `dispose()`) to give its native memory back. */
export class EncoderModel {
  /** Folder, file or hub id. */
  readonly name: string;
  /** What the model is: its layers, sizes and context. */
  readonly config: Config;
  /** Tokens of a text at most, special tokens included; the end of a longer text is left out. */
  readonly maxLength: number;
  readonly #encoder: Encoder;
  readonly #tokenizer: Tokenizer | null;
  readonly #modules: EmbedModules;
  /** Runs share the arrays that the graph reads. */
  readonly #serial = new Serial();

  constructor(parts: EncoderModelParts) {
    this.name = parts.name;
    this.config = parts.config;
    this.#encoder = parts.encoder;
    this.#tokenizer = parts.tokenizer;
    this.#modules = parts.modules;
    this.maxLength = Math.min(parts.config.contextLength, parts.modules.maxLength ?? Number.POSITIVE_INFINITY);
  }

  /** The checkpoint's tokenizer. @throws InputError where it has none. */
  get tokenizer(): Tokenizer {
    if (!this.#tokenizer)
      throw new InputError(`${this.name} has no tokenizer.json: pass token ids to encode() instead, or add the file`);
    return this.#tokenizer;
  }

  /** Prompts that the model was trained with, by name. */
  get prompts(): Readonly<Record<string, string>> {
    return this.#modules.prompts;
  }

  /** How texts are pooled where no option says otherwise. */
  get pooling(): Pooling | readonly Pooling[] {
    return this.#modules.pooling ?? (isEncoder(this.config) ? 'mean' : 'last');
  }

  /** How its vectors are meant to be compared: as `similarity_fn_name` says, else by their cosine. */
  get similarityName(): SimilarityName {
    return this.#modules.similarity;
  }

  /**
   * How similar two vectors are, the larger the more ({@link EncoderModel.similarityName}).
   * @throws InputError for vectors of different lengths, and for what is none.
   */
  similarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
    for (const vector of [a, b]) checkArgument('similarity', 'two vectors as arrays', vector, isList(vector));
    return similarity(this.similarityName, a, b);
  }

  /**
   * Runs the model on whole sequences, and gives the states of all tokens.
   * @throws InputError for what does not fit the model.
   */
  async encode(input: EncoderInput, options: EncodeOptions = {}): Promise<EncodeResult> {
    const { ids, vectors, images }: Record<string, unknown> = isObject(input) ? { ...input } : {};
    checkArgument(
      'encode',
      'an object with a list of ids, vectors or images',
      input,
      [ids, vectors, images].some(isList),
    );
    checkOptionsObject('encode', options);
    return this.#serial.run(() => this.#encoder.run(input, options));
  }

  /**
   * One vector for each text. Texts of similar length are computed together; the result has the order of `texts`.
   * @param texts strings, or token ids, which are computed as they are: without a prompt and further special tokens.
   * @throws InputError for options or texts that can't be meant; TokenizerError; the signal's reason.
   */
  async embed(texts: readonly (string | readonly number[])[], options: EmbedOptions = {}): Promise<Float32Array[]> {
    checkOptionNames('embed', options, EMBED_OPTIONS);
    const { signal } = options;
    if (options.dimensions !== undefined) wholeNumber('dimensions', options.dimensions);
    const pooling = options.pooling === undefined ? this.pooling : checkPooling(options.pooling);
    const batchSize = wholeNumber('batchSize', options.batchSize ?? DEFAULT_BATCH);
    if (!Array.isArray(texts)) throw new InputError('the texts to embed must be a list of strings, or of lists of ids');
    if (this.config.input !== 'tokens')
      throw new InputError(`${this.config.name} models take no text, so they can't embed it: use encode()`);
    const prompt = this.#prompt(options);
    const from = prompt === '' || this.#modules.poolsPrompt ? 0 : this.#promptLength(prompt);
    // CLIP's text models pool by themselves.
    const pools = this.config.output === 'pooled' && options.pooling === undefined && this.#modules.pooling === null;
    const output = pools ? 'pooled' : 'hidden';
    const vectors = new Array<Float32Array>(texts.length);
    const encoded = texts.map((text, index) => this.#encodeText(text, index, prompt, from));
    for (const batch of lengthBatches(encoded, batchSize)) {
      signal?.throwIfAborted();
      const { data, shape, lengths } = await this.encode({ ids: batch.map(({ ids }) => ids) }, { output });
      const [T, width] = output === 'pooled' ? [1, shape[1]] : shape.slice(1);
      batch.forEach(({ index, from: first }, b) => {
        if (output === 'pooled') {
          vectors[index] = this.#finish(data.slice(b * width, (b + 1) * width), options);
          return;
        }
        const states = data.subarray(b * T * width, (b * T + lengths[b]) * width);
        vectors[index] = this.#finish(pool(states, width, pooling, first), options);
      });
    }
    return vectors;
  }

  /** Gives native memory back, once a run that is under way is done. The model can't be used afterwards. */
  dispose(): Promise<void> {
    return this.#serial.run(() => this.#encoder.dispose());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #prompt({ prompt, promptName }: EmbedOptions): string {
    if (promptName === undefined) return prompt ?? this.#modules.defaultPrompt;
    if (prompt !== undefined) throw new InputError('there are two prompts: prompt and promptName; give one of them');
    if (Object.hasOwn(this.prompts, promptName)) return this.prompts[promptName];
    const names = Object.keys(this.prompts);
    throw new InputError(
      `${this.name} has no prompt "${promptName}"; there ${names.length === 0 ? 'are none' : `are ${names.join(', ')}`}`,
    );
  }

  /** Tokens of a prompt, and of what the tokenizer puts before texts. */
  #promptLength(prompt: string): number {
    const [ids, plain] = [true, false].map((addSpecialTokens) => this.tokenizer.encode(prompt, { addSpecialTokens }));
    return Math.max(0, ids.indexOf(plain[0])) + plain.length;
  }

  #encodeText(text: unknown, index: number, prompt: string, from: number): EncodedText {
    if (isList(text)) return { index, ids: this.#checkIds(text as ArrayLike<unknown>, index), from: 0 };
    if (typeof text !== 'string')
      throw new InputError(`text ${index} must be a string or a list of token ids, but is a ${typeof text}`);
    const whole = prompt + text;
    const ids = this.tokenizer.encode(this.#modules.lowerCase ? whole.toLowerCase() : whole, {
      maxLength: this.maxLength,
    });
    if (ids.length === 0) throw new InputError(`text ${index} has no tokens`);
    return { index, ids, from };
  }

  /** Ids are not cut: where a text could be is not known. */
  #checkIds(given: ArrayLike<unknown>, index: number): number[] {
    const { vocabSize } = this.config;
    const ids = Array.from(given, (id) => {
      if (!(typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabSize))
        throw new InputError(`text ${index}: ${shown(id)} is no token id: they are whole numbers below ${vocabSize}`);
      return id;
    });
    if (ids.length === 0) throw new InputError(`text ${index} has no tokens`);
    if (ids.length > this.maxLength)
      throw new InputError(`text ${index} has ${ids.length} tokens, but ${this.name} takes ${this.maxLength} at most`);
    return ids;
  }

  #finish(pooled: Float32Array, { normalize, dimensions }: EmbedOptions): Float32Array {
    const { steps } = this.#modules;
    let vector = pooled;
    for (const step of steps ?? []) {
      if (step.kind === 'dense') vector = applyDense(step.layer, vector);
      else if (step.kind === 'layer-norm') vector = layerNormed(step.norm, vector);
      else if (normalize !== false) vector = normalized(vector);
    }
    if (dimensions !== undefined && dimensions > vector.length)
      throw new InputError(`dimensions is ${dimensions}, but vectors of ${this.name} have ${vector.length} numbers`);
    const cut = dimensions === undefined || dimensions === vector.length ? vector : vector.slice(0, dimensions);
    const last = steps?.at(-1)?.kind === 'normalize' && cut !== vector;
    return (normalize ?? (steps === null || last)) ? normalized(cut) : cut;
  }
}

/**
 * The config with which a model gives the hidden states of whole sequences.
 * @throws InputError for models with other layers than attention to their own keys and values.
 */
export function embedConfig(config: Config): Config {
  if (isEncoder(config)) return config;
  const other = config.layers.find(({ mixer }) => !keepsSlots(mixer));
  const mixer = other ? (other.mixer?.kind ?? 'layers without a mixer') : undefined;
  const needs =
    mixer ??
    (config.layers.some(({ mixer: m }) => keepsSlots(m) && (m.temperature !== null || m.chunk !== null || m.sinks))
      ? 'attention in chunks, with learned sinks, or with a temperature of queries'
      : config.perLayerInput || config.layers.some(({ outScale }) => outScale)
        ? 'inputs or scales of each layer'
        : undefined);
  if (needs !== undefined)
    throw new InputError(
      `${config.name} models can't embed: they have ${needs}, and only models made of self-attention alone are supported`,
    );
  return { ...config, output: 'hidden' };
}
