/**
 * @file How much memory a model and its cache take, told from the config alone.
 */
import { type Config, isEncoder, slotLayers } from '../../config/config.ts';
import { defaultChunkLength } from '../../engine/schedule/prefill.ts';
import { resolveCacheBytes } from '../../kvcache/byte-budget.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import { type AnyCacheOptions, createCache, wantsTable } from '../../kvcache/policies.ts';
import { flatTable } from '../../kvcache/routing/calibration-table.ts';
import type { CacheShape } from '../../kvcache/shape.ts';
import { traceEncoder } from '../../model/encoder.ts';
import { FURTHER } from '../../model/further.ts';
import { traceStep } from '../../model/gpt.ts';
import type { OpGraph } from '../../ops/graph.ts';
import type { GraphTarget } from '../../ops/target.ts';
import { cacheShape } from '../../step/cache-shape.ts';
import { graphOptions } from '../../step/graph-options.ts';
import { namedParts } from '../../step/part-names.ts';
import { readTokens } from '../../step/replay.ts';
import { checkHas } from '../../util/arguments.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { checkOptionsObject } from '../../util/option-names.ts';
import { HALF_PARAMETERS, isGgmlFormat } from '../../weights/formats/ggml-formats.ts';
import type { Param, WeightFormat } from '../../weights/types.ts';
import { chooseFormat, countParameters, paramsOf } from '../model-plan.ts';
import type { WeightChoice } from '../weights/weight-choice.ts';
import type { EngineMemory, PlannedChunk, ResidentWeights } from './engine-memory.ts';
import { onnxMemory } from './onnx-memory.ts';

/** What the memory is planned for. */
export interface MemoryPlanOptions {
  /** Tokens that the sequence is to reach. @default the model's context */
  readonly contextLength?: number;
  /** The cache's options. @default a dense cache for the whole context */
  readonly cache?: Partial<AnyCacheOptions>;
  /** How weights are stored. @default `auto` */
  readonly weights?: WeightChoice;
  /** Tokens of a prompt that are read at once. @default the most that a prompt's chunk has with this cache */
  readonly chunkLength?: number;
  /** Whether there is a tokenizer, which takes memory too. @default true */
  readonly tokenizer?: boolean;
}

/** What a step takes while it runs, in bytes. */
export interface Workspace {
  /** Results of the operators of the largest chunk, such as attention scores, and masks. */
  readonly graph: number;
  /** Logits of the last token. */
  readonly logits: number;
  /** Keys and values that the graph makes of a chunk, and the copies on their way into the cache. */
  readonly chunk: number;
  /** Arrays of chunks before until they are collected, and small things. */
  readonly garbage: number;
}

/** For three formats, and for the one that was asked for where it is another. */
export type ByFormat<T> = Readonly<Record<WeightFormat, T>>;

/** All in bytes, unless its name says otherwise. */
export interface MemoryPlan {
  /** Number of parameters. */
  readonly parameters: number;
  /** The format of the weights: what was asked for, or what `auto` stands for. */
  readonly format: WeightFormat;
  /** Prepared weights on the disk, by format. */
  readonly weights: ByFormat<number>;
  /** Tokens that the plan is for. */
  readonly contextLength: number;
  /** Name of the cache's policy. */
  readonly cachePolicy: string;
  /** Slots of the cache. */
  readonly cacheLength: number;
  /** Keys and values of the cache at that context. */
  readonly cache: number;
  /** The same for a dense cache. */
  readonly denseCache: number;
  /** Keys and values of one token, in all layers. */
  readonly perToken: number;
  /** As perToken, but without layers with a sliding window, which stop growing at their window. */
  readonly perTokenBeyondWindow: number;
  /** Tokens of a prompt that are read at once. */
  readonly chunkLength: number;
  /** What computes: `ggml` or `onnx`. */
  readonly engine: string;
  /** Weights in memory, by format. */
  readonly resident: ByFormat<ResidentWeights>;
  /**
   * Positions and scores of the cache's slots, the policy's other numbers, and what it takes to take the last chunk
   * back.
   */
  readonly bookkeeping: number;
  /** What a step takes while it runs: all of {@link workspaceParts}. */
  readonly workspace: number;
  /** The same, by what it is for. */
  readonly workspaceParts: Workspace;
  /** Node, the library, the engine, and the graph; the tokenizer. */
  readonly runtime: number;
  /** Peak of the process's resident memory, by format: runtime, weights, cache, bookkeeping and workspace. */
  readonly total: ByFormat<number>;
}

/** What the tokenizer takes of each entry of the vocabulary. */
const PER_ENTRY = 300;
const FORMATS: readonly WeightFormat[] = ['float32', 'int8', 'int4'];

/**
 * Options with a table where the policy wants one that nothing was measured for: as if all groups read the past, which
 * takes most.
 */
function calibrated(shape: CacheShape, options: Partial<AnyCacheOptions>): Partial<AnyCacheOptions> {
  const isGiven = options.table !== undefined || options.routes !== undefined;
  return isGiven || !wantsTable(options) ? options : { ...options, table: flatTable(shape) };
}

/**
 * Plans the memory of a model that ONNX Runtime computes. Nothing is loaded.
 *
 * The peak of a process that reads a prompt and writes until `contextLength` tokens are there is estimated as
 *
 *     total     = runtime + resident (private + mapped) + cache + bookkeeping + workspace
 *     cache     = slots · bytes of a slot in its format, as `cache` says
 *     workspace = graph + 2 · 4·B·V for logits + copies of a chunk's keys and values + garbage
 *
 * The numbers were fitted to measured peaks (`npm run bench:memory`), and are of Linux on x86-64.
 * @throws InputError for a contextLength or chunkLength that is not a whole number from 1 on, or cache options that the
 * policy refuses.
 */
export function planMemory(config: Config, options: MemoryPlanOptions = {}): MemoryPlan {
  checkPlanCall(config, options);
  return planMemoryOf(onnxMemory, config, options);
}

/** @throws InputError for what is no config, and options that are no object. */
export function checkPlanCall(config: unknown, options: MemoryPlanOptions): void {
  checkHas('planMemory', 'a config, as planModel and readConfig give it', config, 'layers');
  checkOptionsObject('planMemory', options);
}

/**
 * The same for any engine.
 * @param kept the parameters of a format, where the checkpoint's blocks stay as they are.
 */
export function planMemoryOf(
  engine: EngineMemory,
  config: Config,
  options: MemoryPlanOptions = {},
  kept: (params: readonly Param[], format: WeightFormat) => readonly Param[] = (params) => params,
): MemoryPlan {
  const { contextLength = config.contextLength, cache: wanted = {}, weights: choice = 'auto' } = options;
  const { target } = engine;
  const shape = cacheShape(config, target);
  const limit = (cache: AnyCacheOptions): number => createCache(shape, cache).memory().keysAndValuesLimit;
  const { batch } = wanted;
  const cache = createCache(shape, resolveCacheBytes(shape, calibrated(shape, wanted), contextLength));
  // A short prompt evicts nothing, so its chunks are the longest.
  const chunkLength = wholeNumber('chunkLength', options.chunkLength ?? defaultChunkLength(cache, 1));
  const dense = (cacheLength: number): number => limit({ policy: 'dense', cacheLength, buffer: cache.buffer, batch });
  const paramsIn = (format: WeightFormat) => paramsOf({ config, format, parts: FURTHER }, target);
  const plain = paramsIn('float32');
  const parameters = countParameters(plain);
  const format = chooseFormat(choice, parameters, { ...target, halfParameters: HALF_PARAMETERS });
  const formats = FORMATS.includes(format) ? FORMATS : [...FORMATS, format];
  const byFormat = <T>(of: (format: WeightFormat) => T) =>
    Object.fromEntries(formats.map((each) => [each, of(each)])) as ByFormat<T>;
  const params = byFormat((each) => kept(each === 'float32' ? plain : paramsIn(each), each));
  // A budget above the context is never used up.
  const used = Math.min(cache.cacheLength, contextLength);
  const window = Math.max(1, ...slotLayers(config).map(({ slots }) => slots.window ?? 1));
  const cacheBytes = Math.min(cache.memory().keysAndValuesLimit, dense(used));
  const resident = byFormat((each) => engine.resident(config, params[each], contextLength));
  const spares = target.attendsInSlots?.(cache.buffer) ?? false;
  const slotBytes = cacheBytes / used;
  const bookkeeping = planBookkeeping(config, cache, { slotBytes, contextLength, chunkLength, spares });
  const graph = traceOf(config, cache, format, target);
  const workspaceParts = planWorkspace(engine, { config, cache, graph, contextLength }, chunkLength);
  const workspace = Object.values(workspaceParts).reduce((a, b) => a + b, 0);
  const entries = (options.tokenizer ?? true) ? config.vocabSize : 0;
  const runtime = engine.runtime(config, graph) + PER_ENTRY * entries;
  const apart = runtime + cacheBytes + bookkeeping + workspace;
  return {
    parameters,
    format,
    weights: byFormat((each) => engine.fileBytes(params[each])),
    contextLength,
    cachePolicy: cache.policy,
    cacheLength: cache.cacheLength,
    cache: cacheBytes,
    denseCache: dense(contextLength),
    perToken: dense(1),
    perTokenBeyondWindow: dense(window + 1) - dense(window),
    chunkLength,
    engine: engine.name,
    resident,
    bookkeeping,
    workspace,
    workspaceParts,
    runtime,
    total: byFormat((each) => apart + resident[each].private + resident[each].mapped),
  };
}

/** What bookkeeping depends on besides the cache. */
interface Bookkeeping {
  readonly slotBytes: number;
  readonly contextLength: number;
  readonly chunkLength: number;
  /** Whether chunks are written to spare slots. */
  readonly spares: boolean;
}

function planBookkeeping(
  config: Config,
  cache: KVCache,
  { slotBytes, contextLength: context, chunkLength: chunk, spares }: Bookkeeping,
): number {
  let bytes = 4 * context + cache.memory().bookkeeping;
  for (const row of cache.rows) bytes += row.mostQueryBytes;
  const layers = cache.store.layerGroups.filter((name) => name !== '').length;
  for (const { budget, budgets, slotStateBytes, layers: own } of cache.store.tables.values()) {
    const slots = Math.min(budget, context);
    const all = budgets.reduce((sum, one) => sum + Math.min(one, context), 0);
    bytes += cache.batch * all * (4 + slotStateBytes);
    // What the last chunk overwrote, in memory that doubles.
    const over = Math.min(budget, chunk, context - slots);
    if (over > 0) bytes += 2 ** Math.ceil(Math.log2(over)) * slotBytes * (own.length / layers);
    const spare = spares && over > 0 ? Math.min(chunk, cache.store.limits.spare) : 0;
    bytes += spare * slotBytes * (own.length / layers);
  }
  return isEncoder(config) ? 0 : bytes + cache.memory().states;
}

/** @param most tokens of a chunk. */
function planWorkspace(engine: EngineMemory, run: Omit<PlannedChunk, 'tokens' | 'length'>, most: number): Workspace {
  const { config, cache, contextLength } = run;
  const encoder = isEncoder(config);
  const B = cache.batch;
  const tokens = encoder ? contextLength : Math.min(most, contextLength);
  const length = readTokens(cache, tokens);
  const ofToken = slotLayers(config).reduce(
    (sum, { slots: { groups, keySize, valueSize } }) => sum + 4 * B * groups * (keySize + valueSize),
    0,
  );
  const { bytes, chunkCopies } = engine.step({ ...run, tokens, length });
  const chunks = Math.ceil(contextLength / tokens);
  return {
    graph: bytes,
    logits: 2 * 4 * B * config.vocabSize * (encoder && config.output !== 'hidden' ? length : 1),
    chunk: chunkCopies * ofToken * length,
    garbage: engine.garbage({ chunks, chunkBytes: ofToken * length }),
  };
}

function traceOf(config: Config, cache: KVCache, asked: WeightFormat, target: GraphTarget): OpGraph {
  const format = target.held(asked) ?? (isGgmlFormat(asked) ? 'int4' : asked);
  const model = { config, format, parts: FURTHER };
  if (isEncoder(config)) return traceEncoder(model, config.output, target);
  const options = graphOptions(cache, namedParts(cache), { isReplayed: cache.replay });
  return traceStep(model, options, target).graph;
}
