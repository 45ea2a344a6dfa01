/**
 * @file Measures how much of the past each query group of a model reads: once for retrieval, by a second reading of the
 * same text, and once for local needs, by what is lost where a group attends to recent tokens only. The queries of both
 * readings say how keys are to be rounded.
 */
import type { Config } from '../../config/config.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../../kvcache/policies.ts';
import { definePolicy } from '../../kvcache/policy/define-policy.ts';
import type { PolicyEntry } from '../../kvcache/policy/policy.ts';
import type { LayerView } from '../../kvcache/policy/view.ts';
import {
  CALIBRATION_VERSION,
  type CalibrationTable,
  calibratedLayers,
  MEASURED_SINKS,
  QUANTILES,
} from '../../kvcache/routing/calibration-table.ts';
import type { CacheShape } from '../../kvcache/shape.ts';
import type { LayerProbe, ProbeOptions } from '../../step/probe.ts';
import type { StepOptions, StepResult } from '../../step/step-types.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { sha256 } from '../../util/sha256.ts';
import { LocalNeeds } from './local-needs.ts';
import { QueryMoments } from './query-moments.ts';

/** Options of `calibrate`. */
export interface CalibrateOptions {
  /**
   * Texts of the kind that the model is used for; at least 64 tokens together.
   * @default texts that are part of the package
   */
  readonly texts?: readonly string[];
  /**
   * Tokens of each window of the texts: about the length of the sequences that caches are made for. Less where the
   * model's context holds no two of them.
   * @default 512
   */
  readonly length?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told how many tokens are read. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What calibration needs of a model. */
export interface CalibratedModel {
  /** Says which checkpoint it is, with merged adapters. */
  readonly id: string;
  readonly config: Config;
  readonly tokenizer: Tokenizer;
  createCache(options: Partial<AnyCacheOptions>): KVCache;
  step(cache: KVCache, chunk: readonly ArrayLike<number>[], options: StepOptions): Promise<StepResult>;
  /** The matrix that a layer's attention is projected with, transposed; null where it is no single matrix. */
  projection(layer: number): Promise<Float32Array | null>;
}

export const CALIBRATION_LENGTH = 512;
/** What makes the model read its context once more. */
const REPEAT = '\n\nRepeat the previous context exactly.\n\n';
/** Tokens that are read at most, in windows spread over all of the text. */
const MOST_TOKENS = 4096;
const SHORTEST = 32;
const CHUNK = 64;
/** Of the second reading only maxima over queries are asked for, so its chunks may be long. */
const REPEAT_CHUNK = 128;
/** Of the second half of a text, one query of so many is looked at for local needs. */
const STRIDE = 8;
/** log of weights that are 0. */
const LEAST_LOG = -40;

/**
 * Keeps all, each layer and group in slots of its own.
 * @param observe is called for each layer of a step, with maxima of weights.
 */
const measuring = (observe: (layer: LayerView) => void): PolicyEntry =>
  definePolicy({
    name: 'calibration',
    summary: 'keeps every token, while a model is calibrated',
    frame: [],
    evicts: false,
    sharing: 'none',
    perGroup: true,
    slotState: 0,
    needs: ['max'],
    observe,
  });

/** Says which texts a table was made with. */
export function textsKey(texts: readonly string[]): string {
  return sha256(new TextEncoder().encode(texts.join('\u0000')));
}

/** The texts that are part of the package. */
export async function shippedTexts(): Promise<readonly string[]> {
  return (await import('./calibration-texts.ts')).CALIBRATION_TEXTS;
}

/** @throws InputError for a model none of whose layers attends to the whole past. */
function checkCalibrated({ name }: Config, shape: CacheShape): void {
  if (calibratedLayers(shape).length === 0)
    throw new InputError(
      `${name} models can't be calibrated: none of their layers attends to the whole past; choose a policy other than routed`,
    );
}

/**
 * Measures a model.
 * @throws InputError for a model without attention to the whole past, or texts that are too short; the signal's reason.
 */
export async function calibrate(model: CalibratedModel, options: CalibrateOptions = {}): Promise<CalibrationTable> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const texts = options.texts ?? (await shippedTexts());
  const { lead, repeat, windows, length } = cutTexts(model, texts, options.length ?? CALIBRATION_LENGTH);
  const total = lead.length + 2 * length + repeat.length;
  let meter: Meter | null = null;
  const policy = measuring((layer) => meter?.observe(layer));
  const cache = model.createCache({ policy, cacheLength: total });
  try {
    checkCalibrated(model.config, cache.shape);
    meter = new Meter(model, cache, lead.length, length);
    await meter.open();
    const progress = { done: 0, total: windows.length * total };
    for (const window of windows) {
      cache.clear();
      await meter.read([...lead, ...window], [...repeat, ...window], (tokens) => {
        signal?.throwIfAborted();
        progress.done += tokens;
        onProgress?.(progress.done, progress.total);
      });
    }
    return {
      version: CALIBRATION_VERSION,
      model: model.id,
      texts: textsKey(texts),
      length,
      layers: meter.result(),
    };
  } finally {
    cache.dispose();
  }
}

/** Windows of equal length, and what is before and between them. */
function cutTexts({ config, tokenizer }: CalibratedModel, texts: readonly string[], wanted: number) {
  const plain = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const ids = plain(texts.join('\n\n'));
  const lead = tokenizer.encode('', { addSpecialTokens: true }).slice(0, 1);
  const repeat = plain(REPEAT);
  const most = Math.floor((config.contextLength - lead.length - repeat.length) / 2);
  const length = Math.min(wholeNumber('length', wanted, SHORTEST), most, ids.length);
  if (length < SHORTEST)
    throw new InputError(
      most < SHORTEST
        ? `${config.name}: a context of ${config.contextLength} tokens is too short to be calibrated`
        : `the texts have ${ids.length} tokens together, but calibration takes ${SHORTEST} at least`,
    );
  const all = Math.floor(ids.length / length);
  const count = Math.min(all, Math.max(1, Math.floor(MOST_TOKENS / length)));
  return { lead, repeat, windows: spreadWindows(ids, length, count), length };
}

/** Windows of a text, spread over all of it. */
export function spreadWindows(ids: readonly number[], length: number, count: number): number[][] {
  const all = Math.floor(ids.length / length);
  return Array.from({ length: count }, (_, i) => {
    const at = Math.floor((i * all) / count) * length;
    return ids.slice(at, at + length);
  });
}

/** Adds up what windows show. */
class Meter {
  readonly #model: CalibratedModel;
  readonly #cache: KVCache;
  /** Where the text begins, and how long it is. */
  readonly #from: number;
  readonly #length: number;
  readonly #layers: readonly number[];
  readonly #needs = new Map<number, LocalNeeds>();
  readonly #moments = new Map<number, QueryMoments>();
  /** By layer and group: log z of all windows' slots. */
  readonly #logs = new Map<number, number[][]>();
  /**
   * By layer and group: the largest weight of each slot of the text in this second reading; null: this is no second
   * reading.
   */
  #most: Map<number, Float32Array[]> | null = null;

  constructor(model: CalibratedModel, cache: KVCache, from: number, length: number) {
    this.#model = model;
    this.#cache = cache;
    this.#from = from;
    this.#length = length;
    this.#layers = calibratedLayers(cache.shape);
  }

  async open(): Promise<void> {
    for (const l of this.#layers) {
      const shape = this.#cache.shape.layers[l];
      this.#needs.set(l, new LocalNeeds(shape, await this.#model.projection(l), this.#from + this.#length));
      this.#moments.set(l, new QueryMoments(shape));
      this.#logs.set(
        l,
        Array.from({ length: shape.groups }, () => []),
      );
    }
  }

  /** Reads a text, and reads it again. */
  async read(text: readonly number[], again: readonly number[], onTokens: (count: number) => void): Promise<void> {
    const half = this.#from + Math.floor(this.#length / 2);
    for (let at = 0; at < text.length; at += CHUNK) {
      const chunk = text.slice(at, at + CHUNK);
      const queries = [...chunk.keys()].filter((t) => at + t >= half && (at + t - half) % STRIDE === 0);
      const probes = await this.#step(chunk, { queries });
      for (const [l, needs] of this.#needs) needs.add(probes[l]!, at, queries);
      this.#addMoments(probes);
      onTokens(chunk.length);
    }
    const most = new Map(this.#layers.map((l) => [l, this.#newWeights(l)]));
    this.#most = most;
    for (let at = 0; at < again.length; at += REPEAT_CHUNK) {
      const chunk = again.slice(at, at + REPEAT_CHUNK);
      // Queries that look for what was read: keys are rounded for them as much as for those of the first reading.
      this.#addMoments(await this.#step(chunk, { queries: [0] }));
      onTokens(chunk.length);
    }
    this.#most = null;
    // The first tokens get weight from queries that look for nothing, and all caches keep them.
    const skipped = Math.max(0, MEASURED_SINKS - this.#from);
    for (const [l, list] of most)
      for (const [g, weights] of list.entries())
        for (let j = skipped; j < this.#length; j++)
          this.#logs.get(l)![g].push(weights[j] > 0 ? Math.max(LEAST_LOG, Math.log(weights[j])) : LEAST_LOG);
  }

  #addMoments(probes: readonly (LayerProbe | null)[]): void {
    for (const [l, moments] of this.#moments) moments.add(probes[l]!);
  }

  /** Raises the weights of the text's slots to the largest that any head and query of a chunk gives them. */
  observe({ layer, groups }: LayerView): void {
    const most = this.#most?.get(layer);
    if (!most) return;
    for (const { index, weights } of groups) {
      const [own, [given]] = [most[index], weights];
      for (let j = 0; j < own.length; j++) if (given[this.#from + j] > own[j]) own[j] = given[this.#from + j];
    }
  }

  result(): CalibrationTable['layers'] {
    return this.#cache.shape.layers.map((_, l) => {
      const needs = this.#needs.get(l)?.result();
      if (needs === undefined) return null;
      const roundings = this.#moments.get(l)!.roundings();
      return needs.map((local, g) => ({
        retrieval: quantiles(this.#logs.get(l)![g]),
        local,
        ...(roundings && { rounding: roundings[g] }),
      }));
    });
  }

  #newWeights(layer: number): Float32Array[] {
    const { groups } = this.#cache.shape.layers[layer];
    return Array.from({ length: groups }, () => new Float32Array(this.#length));
  }

  async #step(chunk: readonly number[], probe: ProbeOptions) {
    const lengths = [this.#cache.length() + chunk.length];
    const { probes } = await this.#model.step(this.#cache, [chunk], {
      logits: 'none',
      phase: 'prompt',
      lengths,
      probe,
    });
    return probes ?? [];
  }
}

/** Values at equal distances, ascending, to four digits. */
function quantiles(values: readonly number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  return Array.from({ length: QUANTILES }, (_, i) => {
    const at = ((i + 0.5) / QUANTILES) * sorted.length - 0.5;
    const low = Math.max(0, Math.floor(at));
    const high = Math.min(sorted.length - 1, low + 1);
    return Number((sorted[low] + (at - low) * (sorted[high] - sorted[low])).toPrecision(4));
  });
}
