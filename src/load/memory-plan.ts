/**
 * @file How much memory a model and its cache take, told from the config alone.
 */

import { lowerToOnnx } from '../backends/onnx/lower/lower.ts';
import { onnxTarget } from '../backends/onnx/target.ts';
import { type Config, isEncoder } from '../config/config.ts';
import { type SlotSpec, slotSpec } from '../config/layer-spec.ts';
import { CHUNK_LENGTH } from '../engine/prefill.ts';
import { resolveCacheBytes } from '../kvcache/byte-budget.ts';
import { flatTable } from '../kvcache/calibration-table.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { needsBy } from '../kvcache/needs.ts';
import { type AnyCacheOptions, createCache, wantsTable } from '../kvcache/policies.ts';
import type { CacheShape } from '../kvcache/shape.ts';
import { traceEncoder } from '../model/encoder.ts';
import { traceStep } from '../model/gpt.ts';
import type { GraphTarget } from '../ops/target.ts';
import { cacheShape } from '../step/cache-shape.ts';
import { echoedGroups } from '../step/echo.ts';
import { readTokens } from '../step/replay.ts';
import { product, wholeNumber } from '../util/numbers.ts';
import { bitsOf, ggmlFormatOf, HALF_PARAMETERS, isGgmlFormat } from '../weights/ggml-formats.ts';
import { layOut } from '../weights/layout.ts';
import { QUANT_BLOCK } from '../weights/quantise.ts';
import type { Param, WeightFormat } from '../weights/types.ts';
import { chooseFormat, countParameters, paramsOf } from './model-plan.ts';
import type { WeightChoice } from './weight-choice.ts';

export interface MemoryPlanOptions {
  /** Tokens that the sequence is to reach. @default the model's context */
  readonly contextLength?: number;
  /** The cache's options. @default a dense cache for the whole context */
  readonly cache?: Partial<AnyCacheOptions>;
  /** How weights are stored. @default `auto` */
  readonly weights?: WeightChoice;
  /** Tokens of a prompt that are read at once. @default 256 */
  readonly chunkLength?: number;
  /** Whether there is a tokenizer, which takes memory too. @default true */
  readonly tokenizer?: boolean;
}

/** What weights take of a running process, in bytes. */
export interface ResidentWeights {
  /** Copies that ONNX Runtime arranges for its matrix products. */
  readonly private: number;
  /** Pages of the prepared file: embeddings, scales, norms. They are shared with other processes, and the system may drop them. */
  readonly mapped: number;
}

/** What a step takes while it runs, in bytes. */
export interface Workspace {
  /** Attention scores of the largest chunk, as they are before and after the softmax. */
  readonly scores: number;
  /** The MLP's hidden values. */
  readonly mlp: number;
  /** Logits of the last token. */
  readonly logits: number;
  /** Keys and values that the graph makes of a chunk, and the copies on their way into the cache. */
  readonly chunk: number;
  /** Arrays of chunks before that are no longer used, until they are collected. */
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
  /** Weights in memory, by format. */
  readonly resident: ByFormat<ResidentWeights>;
  /** Positions and scores of the cache's slots, and what it takes to take the last chunk back. */
  readonly bookkeeping: number;
  /** What a step takes while it runs: all of {@link workspaceParts}. */
  readonly workspace: number;
  readonly workspaceParts: Workspace;
  /** Node, the library, ONNX Runtime, and the graph; the tokenizer. */
  readonly runtime: number;
  /** Peak of the process's resident memory, by format: runtime, weights, cache, bookkeeping and workspace. */
  readonly total: ByFormat<number>;
}

const MB = 1e6;
/** Node 20, the library and ONNX Runtime 1.30 with their code, before any model. */
const BASE = 97 * MB;
/** What the graph takes: of each layer, and of each node. */
const PER_LAYER = 1.3 * MB;
const PER_NODE = 17_000;
/** What the tokenizer takes of each entry of the vocabulary. */
const PER_ENTRY = 300;
/** Copies of the scores: of each operator its input and output, and what the allocator can not use again. */
const SCORES = 3;
/** Copies of a chunk's keys and values: by layer, put together, handed over, those of chunks before, and the allocator's share. */
const CHUNKS = 8;
/** Rows of the MLP's width: both halves together, each by itself, activated and multiplied; and the allocator's share. */
const MLP_ROWS = 7;
/** Small things, and garbage that V8 lets lie at any rate. */
const SLACK = 10 * MB;
const GARBAGE = 16 * MB;

const FORMATS: readonly WeightFormat[] = ['float32', 'int8', 'int4'];

/** Options with a table where the policy wants one that nothing was measured for: as if all groups read the past, which takes most. */
function calibrated(shape: CacheShape, options: Partial<AnyCacheOptions>): Partial<AnyCacheOptions> {
  const isGiven = options.table !== undefined || options.routes !== undefined;
  return isGiven || !wantsTable(options) ? options : { ...options, table: flatTable(shape) };
}

/**
 * Plans the memory of a model. Nothing is loaded.
 *
 * The peak of a process that reads a prompt and writes until `contextLength` tokens are there is estimated as
 *
 *     total     = runtime + resident (private + mapped) + cache + bookkeeping + workspace
 *     runtime   = 97 MB + 1.3 MB a layer + 17 kB a node of the graph + 300 bytes an entry of the tokenizer
 *     private   = matrices that are multiplied: float32 as stored; int8 and int4 with 8 bytes for every 32 values (scale and sum)
 *     mapped    = the embedding, the scales, the norms: what of the file is read in place
 *     cache     = slots · bytes of a slot in its format, as `cache` says
 *     workspace = 3 · 4·B·H·T·(C + T)            attention scores of the largest chunk
 *               + 7 · 4·B·T·F                    the MLP
 *               + 2 · 4·B·V                      logits
 *               + 8 · the chunk's keys and values in float32
 *               + 10 MB + min(16 MB, keys and values of all chunks)
 *
 * with B rows, H query heads, T tokens of a chunk, C slots held before it, F the width of the MLP, V the vocabulary. The numbers were
 * fitted to measured peaks (`npm run bench:memory`), and are of Linux on x86-64.
 * @throws InputError for a contextLength or chunkLength that is not a whole number from 1 on, or cache options that the policy refuses.
 */
export function planMemory(config: Config, options: MemoryPlanOptions = {}): MemoryPlan {
  const { contextLength = config.contextLength, cache: wanted = {}, weights: choice = 'auto' } = options;
  const chunkLength = wholeNumber('chunkLength', options.chunkLength ?? CHUNK_LENGTH);
  const shape = cacheShape(config, onnxTarget);
  const limit = (cache: AnyCacheOptions): number => createCache(shape, cache).memory().keysAndValuesLimit;
  const { batch } = wanted;
  const cache = createCache(shape, resolveCacheBytes(shape, calibrated(shape, wanted), contextLength));
  const dense = (cacheLength: number): number => limit({ policy: 'dense', cacheLength, buffer: cache.buffer, batch });
  const plain = paramsOf(config, 'float32');
  const parameters = countParameters(plain);
  const format = chooseFormat(choice, parameters, { halfParameters: HALF_PARAMETERS });
  const formats = FORMATS.includes(format) ? FORMATS : [...FORMATS, format];
  const byFormat = <T>(of: (format: WeightFormat) => T) =>
    Object.fromEntries(formats.map((each) => [each, of(each)])) as ByFormat<T>;
  const params = byFormat((each) => (each === 'float32' ? plain : paramsOf(config, each, namedTarget)));
  // A budget above the context is never used up.
  const used = Math.min(cache.cacheLength, contextLength);
  const window = Math.max(1, ...slotsOf(config).map(({ window }) => window ?? 1));
  const cacheBytes = Math.min(cache.memory().keysAndValuesLimit, dense(used));
  const resident = byFormat((each) => residentWeights(config, params[each]));
  const bookkeeping = planBookkeeping(config, cache, cacheBytes / used, contextLength, chunkLength);
  const workspaceParts = planWorkspace(config, cache, contextLength, chunkLength);
  const workspace = Object.values(workspaceParts).reduce((a, b) => a + b, SLACK);
  const runtime = planRuntime(config, cache, format, options.tokenizer ?? true);
  const apart = runtime + cacheBytes + bookkeeping + workspace;
  return {
    parameters,
    format,
    weights: byFormat((each) => sizeOf(params[each])),
    contextLength,
    cachePolicy: cache.policy,
    cacheLength: cache.cacheLength,
    cache: cacheBytes,
    denseCache: dense(contextLength),
    perToken: dense(1),
    perTokenBeyondWindow: dense(window + 1) - dense(window),
    chunkLength,
    resident,
    bookkeeping,
    workspace,
    workspaceParts,
    runtime,
    total: byFormat((each) => apart + resident[each].private + resident[each].mapped),
  };
}

/** Has a format for every matrix also where the model's is one of ggml's. */
const namedTarget: GraphTarget = {
  ...onnxTarget,
  weightFormat: (matrix, format) =>
    isGgmlFormat(format) ? (ggmlFormatOf(format, matrix) ?? 'float32') : onnxTarget.weightFormat(matrix, format),
};

/** Bytes in the file of prepared weights. */
function sizeOf(params: readonly Param[]): number {
  const named = params.reduce(
    (sum, { format, shape }) => (isGgmlFormat(format) ? sum + (product(shape) * bitsOf(format)) / 8 : sum),
    0,
  );
  return named + layOut(params.filter(({ format }) => !isGgmlFormat(format))).size;
}

function residentWeights(config: Config, params: readonly Param[]): ResidentWeights {
  const resident = { private: 0, mapped: 0 };
  for (const param of params) {
    const size = sizeOf([param]);
    const embedding = param.role === 'embedding';
    const multiplied = param.role === 'linear' || (embedding && config.tieEmbeddings);
    const blocks =
      param.format === 'float32' || isGgmlFormat(param.format)
        ? 0
        : param.shape[0] * Math.ceil(param.shape[1] / QUANT_BLOCK);
    // Beside the values, a copy has a scale and a sum for each block; the file has the scale.
    if (multiplied) resident.private += size + 4 * blocks;
    if (multiplied && !embedding) resident.mapped += 4 * blocks;
    else resident.mapped += size;
  }
  return resident;
}

function planBookkeeping(config: Config, cache: KVCache, slotBytes: number, context: number, chunk: number): number {
  let bytes = 4 * context + cache.memory().bookkeeping;
  const layers = cache.store.layerGroups.filter((name) => name !== '').length;
  for (const { budget, budgets, slotStateBytes, layers: own } of cache.store.tables.values()) {
    const slots = Math.min(budget, context);
    const all = budgets.reduce((sum, one) => sum + Math.min(one, context), 0);
    bytes += cache.batch * all * (12 + slotStateBytes);
    // What the last chunk overwrote, in memory that doubles.
    const over = Math.min(budget, chunk, context - slots);
    if (over > 0) bytes += 2 ** Math.ceil(Math.log2(over)) * slotBytes * (own.length / layers);
  }
  return isEncoder(config) ? 0 : bytes + cache.memory().states;
}

function planWorkspace(config: Config, cache: KVCache, context: number, most: number): Workspace {
  const encoder = isEncoder(config);
  const B = cache.batch;
  const chunk = encoder ? context : Math.min(most, context);
  const T = readTokens(cache, chunk);
  const budget = Math.max(0, ...[...cache.store.tables.values()].map((table) => table.budget));
  /** Scores of a chunk that ends at a token. */
  const scoresAt = (end: number, tokens: number) => {
    const read = readTokens(cache, tokens);
    return read * (Math.min(budget, end - tokens) + read);
  };
  const whole = Math.floor(context / chunk);
  const H = Math.max(0, ...slotsOf(config).map(({ heads }) => heads));
  const scores =
    SCORES * 4 * B * H * Math.max(scoresAt(whole * chunk, chunk), scoresAt(context, context - whole * chunk));
  const present = slotsOf(config).reduce((sum, s) => sum + 4 * B * s.groups * (s.keySize + s.valueSize) * T, 0);
  return {
    scores,
    mlp: MLP_ROWS * 4 * B * T * mlpWidth(config),
    logits: 2 * 4 * B * config.vocabSize * (encoder && config.output !== 'hidden' ? T : 1),
    chunk: CHUNKS * present,
    garbage: Math.min(GARBAGE, present * Math.ceil(context / chunk)),
  };
}

/** Values of the widest MLP for one token; experts that are chosen work one after the other. */
function mlpWidth({ layers }: Config): number {
  const widths = layers.map(({ mlp }) =>
    mlp?.kind === 'moe' ? Math.max(mlp.experts.size * mlp.router.perToken, mlp.shared?.size ?? 0) : (mlp?.size ?? 0),
  );
  return Math.max(0, ...widths);
}

/** What each layer that keeps keys and values keeps of a token. */
function slotsOf({ layers }: Config): SlotSpec[] {
  return layers.flatMap(({ mixer }) => slotSpec(mixer) ?? []);
}

function planRuntime(config: Config, cache: KVCache, asked: WeightFormat, tokenizer: boolean): number {
  const { buffer } = cache;
  const { needsQueries: moments, needs, layout } = cache.rules;
  const [sums, maxima] = [needsBy('sum', needs).length > 0, needs.includes('max')];
  const echo = echoedGroups(cache);
  const format = isGgmlFormat(asked) ? 'int4' : asked;
  const graph = isEncoder(config)
    ? traceEncoder(config, format, config.output, onnxTarget)
    : traceStep(config, { format, sharing: layout.sharing, buffer, sums, maxima, echo, moments }, onnxTarget).graph;
  const { nodeCount } = lowerToOnnx(graph);
  return BASE + PER_LAYER * config.nLayer + PER_NODE * nodeCount + (tokenizer ? PER_ENTRY * config.vocabSize : 0);
}
