/**
 * @file A loaded model: what a program holds in its hands.
 */
import type { AdapterChoice } from '../adapters/bank.ts';
import type { ModelAdapters } from '../adapters/model-adapters.ts';
import type { Config } from '../config/config.ts';
import { InputError } from '../errors.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { type AnyCacheOptions, createCache, type PolicyRow } from '../kvcache/policies.ts';
import type { TokenPositions } from '../model/bind.ts';
import type { EncodeOptions, EncodeResult, Encoder, EncoderInput } from '../model/encode.ts';
import type { StepAdapters, StepOptions, Stepper, StepResult } from '../model/stepper.ts';
import { wholeNumber } from '../numbers.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { WeightFormat } from '../weights/types.ts';
import { chunkSchedule } from './chunk-schedule.ts';
import { type GenerateOptions, Generation } from './generate.ts';
import { restoreCache, snapshotCache } from './snapshot.ts';

/** Tokens of a prompt that go through the graph at once, unless stated. */
export const CHUNK_LENGTH = 256;

export interface PrefillOptions {
  /** Most tokens of one chunk; {@link CHUNK_LENGTH} unless stated. */
  readonly chunkLength?: number;
  /** `last`: logits of the last token [1, V]; `all`: of every token [T, V]; `none`. `last` unless stated. */
  readonly logits?: 'none' | 'last' | 'all';
  /** `decode` where the tokens were written by the model; unless stated they are a prompt, which policies may treat otherwise. */
  readonly phase?: 'prompt' | 'decode';
  /** Live adapters; unless stated, the model's standard. */
  readonly adapters?: AdapterChoice;
  /** Positions of the tokens, in models where they have several; see {@link StepOptions.positions}. */
  readonly positions?: TokenPositions;
  /** Which attached states each token sees; see {@link StepOptions.sees}. */
  readonly sees?: readonly ArrayLike<number>[];
  /** Asked between chunks. */
  readonly signal?: AbortSignal;
  /** Told after each chunk how many tokens are done. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What the parts of a model are put together from. */
export interface LanguageModelParts {
  readonly name: string;
  readonly stepper: Stepper;
  /** Where the model is one. */
  readonly encoder: Encoder | null;
  readonly tokenizer: Tokenizer | null;
  readonly format: WeightFormat;
  /** Says which weights these are, and in what format. */
  readonly fingerprint: string;
  /** generation_config.json, or nothing. */
  readonly generationConfig: Readonly<Record<string, unknown>>;
  readonly adapters: ModelAdapters;
}

/** Which live adapters a step uses. */
export interface AdapterOptions {
  /** For all rows; unless stated, the model's standard. */
  readonly adapters?: AdapterChoice;
  /** For each row of a batch, instead; undefined is the standard. */
  readonly rowAdapters?: readonly (AdapterChoice | undefined)[];
}

/**
 * A model that is ready to run. Dispose of it (`await using`, or `release()`) to give its native memory back.
 */
export class LanguageModel {
  /** Folder, file or hub id. */
  readonly name: string;
  readonly config: Config;
  readonly weights: WeightFormat;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  /** The live adapters: more can be loaded, and each step chooses among them. */
  readonly adapters: ModelAdapters;
  readonly #fingerprint: string;
  readonly #stepper: Stepper;
  readonly #encoder: Encoder | null;
  readonly #tokenizer: Tokenizer | null;
  /** Done when no step is under way. */
  #idle: Promise<unknown> = Promise.resolve();

  constructor(parts: LanguageModelParts) {
    this.name = parts.name;
    this.config = parts.stepper.config;
    this.weights = parts.format;
    this.adapters = parts.adapters;
    this.#fingerprint = parts.fingerprint;
    this.generationConfig = parts.generationConfig;
    this.#stepper = parts.stepper;
    this.#encoder = parts.encoder;
    this.#tokenizer = parts.tokenizer;
  }

  /** Says which weights these are, in what format, and which adapters are standard: saved caches belong to it. */
  get fingerprint(): string {
    return this.#fingerprint + this.adapters.fingerprint;
  }

  /** @throws InputError where the checkpoint came without one. */
  get tokenizer(): Tokenizer {
    if (!this.#tokenizer)
      throw new InputError(`${this.name} has no tokenizer.json: pass token ids instead of text, or add the file`);
    return this.#tokenizer;
  }

  get hasTokenizer(): boolean {
    return this.#tokenizer !== null;
  }

  /**
   * A cache for this model. Unless stated it is dense and as long as the model's context.
   * @throws InputError for options that the policy refuses.
   */
  createCache(options: Partial<AnyCacheOptions> = {}): KVCache {
    if (this.#encoder)
      throw new InputError(`${this.config.name} models are encoders, which keep nothing: use encode() instead`);
    return createCache(this.#stepper.cacheShape, { cacheLength: this.config.blockSize, ...options });
  }

  /**
   * Runs one chunk, one list of token ids a row.
   * @throws InputError, CacheFullError
   */
  step(
    cache: KVCache,
    chunk: readonly ArrayLike<number>[],
    options: StepOptions & AdapterOptions = {},
  ): Promise<StepResult> {
    return this.#alone(() => this.#stepper.step(cache, chunk, options, this.#adaptersOf(cache.batch, options)));
  }

  /**
   * Runs an encoder on whole sequences: token ids, vectors or images, as its config says (`input`).
   * @throws InputError for what does not fit the model, and for a model that writes text.
   */
  async encode(input: EncoderInput, options?: EncodeOptions): Promise<EncodeResult> {
    if (!this.#encoder)
      throw new InputError(`${this.config.name} models write text: use generate() or step() instead of encode()`);
    const encoder = this.#encoder;
    return this.#alone(() => encoder.run(input, options));
  }

  /**
   * Gives a row of a cache what the model's cross-attention layers attend to (an image's states), in place of what it had.
   * @param states [count, width], row-major; the config's `cross.width`.
   * @throws InputError where the model has no such layers, or the numbers do not fit.
   */
  attach(cache: KVCache, states: Float32Array, row = 0): Promise<void> {
    return this.#alone(() => this.#stepper.attach(cache, states, row));
  }

  /**
   * Takes tokens into a cache of one row, in chunks.
   * @returns the logits asked for, all chunks' behind each other.
   * @throws InputError for an empty prompt; CacheFullError before anything is computed where it can't fit.
   */
  async prefill(cache: KVCache, tokens: ArrayLike<number>, options: PrefillOptions = {}): Promise<Float32Array> {
    const { chunkLength = CHUNK_LENGTH, logits = 'last', phase = 'prompt', adapters, signal, onProgress } = options;
    const { positions, sees } = options;
    if (tokens.length === 0) throw new InputError('the prompt is empty: there is no token to go on from');
    wholeNumber('chunkLength', chunkLength);
    this.#checkPrompt(cache, tokens);
    this.#adaptersOf(1, { adapters });
    cache.reserve([tokens.length]);
    signal?.throwIfAborted();
    const ids = positions || sees ? Array.from(tokens) : this.#refit(cache, Array.from(tokens));
    const length = cache.length() + ids.length;
    const skip = ids.length - tokens.length;
    const all: Float32Array[] = [];
    for (const [at, end] of chunkSchedule(ids.length, chunkLength, phase === 'prompt' ? cache.promptTail : 0)) {
      signal?.throwIfAborted();
      const last = end === ids.length;
      const wanted = logits === 'all' ? 'all' : last ? logits : 'none';
      const step = {
        logits: wanted,
        adapters,
        lengths: [length],
        phase: phase === 'prompt' && last ? 'prompt-end' : phase,
        positions: positions && [slicePositions(positions, at, end)],
        sees: sees && [sees.slice(at, end)],
      } as const;
      const result = await this.step(cache, [ids.slice(at, end)], step);
      if (wanted !== 'none') all.push(result.logits);
      onProgress?.(end, ids.length);
    }
    const joined = all.length === 1 ? all[0] : concatFloats(all);
    return logits === 'all' ? joined.subarray(skip * this.config.vocabSize) : joined;
  }

  /**
   * Writes text that goes on from a prompt.
   * @param prompt text, or token ids (which are taken as they are).
   * @throws InputError for options out of range, at once; what goes wrong later is thrown by the iteration.
   */
  generate(prompt: string | readonly number[], options: GenerateOptions = {}): Generation {
    return new Generation(this, prompt, options);
  }

  /** A cache as bytes, for {@link restore}. */
  snapshot(cache: KVCache): Promise<Uint8Array> {
    return snapshotCache(cache, this.fingerprint);
  }

  /**
   * The cache that {@link snapshot} wrote down, which goes on as if nothing had been between.
   * @param policy for a cache whose policy is not in the table.
   * @throws SnapshotError for bytes that are torn, or of something else.
   */
  restore(bytes: Uint8Array, policy?: PolicyRow): Promise<KVCache> {
    return restoreCache(bytes, this.#stepper.cacheShape, this.fingerprint, policy);
  }

  /** Gives native memory back, once a step that is under way is done. The model can't be used afterwards. */
  release(): Promise<void> {
    return this.#alone(async () => {
      await this.#stepper.release();
      await this.#encoder?.release();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  #adaptersOf(batch: number, { adapters, rowAdapters }: AdapterOptions): StepAdapters | null {
    if (rowAdapters && rowAdapters.length !== batch)
      throw new InputError(`rowAdapters has ${rowAdapters.length} entries, but the cache has ${batch} rows`);
    return this.adapters.forRows(rowAdapters ?? new Array<AdapterChoice | undefined>(batch).fill(adapters));
  }

  /** One after the other: steps share the arrays that the graph reads, whichever caches they are for. */
  #alone<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#idle.then(run);
    this.#idle = result.catch(() => undefined);
    return result;
  }

  /** What would fail in a later chunk fails before the first one: a cache is left as it was. */
  #checkPrompt(cache: KVCache, tokens: ArrayLike<number>): void {
    const { embedRows, position, blockSize } = this.config;
    for (let i = 0; i < tokens.length; i++)
      if (!Number.isInteger(tokens[i]) || tokens[i] < 0 || tokens[i] >= embedRows)
        throw new InputError(`token id ${tokens[i]} (place ${i}) is not in the model's vocabulary of ${embedRows}`);
    const end = cache.length() + tokens.length;
    if (position === 'learned' && end > blockSize)
      throw new InputError(`the model has learned ${blockSize} positions, and the sequence would reach ${end}`);
  }

  /**
   * Where a longer sequence wants other rotations than the held keys have (dynamic and long RoPE), all of it is computed
   * anew, as long as nothing was evicted; otherwise the held keys stay as they are.
   */
  #refit(cache: KVCache, tokens: number[]): number[] {
    const held = cache.length();
    if (held === 0 || this.#stepper.ropeFits(held, held + tokens.length)) return tokens;
    if (cache.stats().evicted[0] > 0 || cache.attached.any || cache.place() !== held) return tokens;
    const all = [...cache.tokens(), ...tokens];
    cache.clear();
    return all;
  }
}

/** Positions of some of the tokens. */
function slicePositions(positions: TokenPositions, from: number, to: number): TokenPositions {
  const cut = (list: ArrayLike<number>) => Array.from(list).slice(from, to);
  return typeof positions[0] === 'number'
    ? cut(positions as ArrayLike<number>)
    : (positions as readonly ArrayLike<number>[]).map(cut);
}

function concatFloats(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
