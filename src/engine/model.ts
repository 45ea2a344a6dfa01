/**
 * @file What generating text needs of a decoder model: {@link LanguageModel} implements it, and tests do with less.
 */
import type { AdapterOptions } from '../adapters/choice.ts';
import type { AdapterRegistry } from '../adapters/registry.ts';
import type { Config } from '../config/config.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { StepOptions, StepResult } from '../step/step-types.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { GenerationDefaults } from './defaults.ts';
import type { MessageRenderer } from './messages.ts';

/** What reading a prompt needs of a model. */
export interface PrefillModel {
  readonly config: Config;
  readonly adapters: AdapterRegistry;
  /**
   * Whether the keys of a sequence that grows from one length to another stay rotated as the model wants them.
   * @internal
   */
  ropeFits(from: number, to: number): boolean;
  /** Runs one chunk, one list of token ids a row. */
  step(cache: KVCache, chunk: readonly ArrayLike<number>[], options: StepOptions & AdapterOptions): Promise<StepResult>;
}

/** A model that generates text. */
export interface DecoderModel extends PrefillModel {
  /** Folder, file or hub id. */
  readonly name: string;
  readonly hasTokenizer: boolean;
  /** @throws InputError where the checkpoint has none. */
  readonly tokenizer: Tokenizer;
  /** Renders messages. */
  readonly renderer: MessageRenderer;
  /** Tokens at which the model ends, by config.json and generation_config.json. */
  readonly eosTokenIds: readonly number[];
  /** Options of the checkpoint's generation_config.json. */
  readonly defaults: GenerationDefaults;
  createCache(options?: Partial<AnyCacheOptions>): KVCache;
  /** Makes the session that steps with this cache run on. */
  prepare(cache: KVCache, options?: AdapterOptions): Promise<void>;
  /**
   * How many tokens one step may take in, up to `most`, and still compute what steps of one token would.
   * @param exact false: tokens may be evicted within the step.
   * @internal
   */
  stepLimit(cache: KVCache, row: number, most: number, exact: boolean): number;
}
