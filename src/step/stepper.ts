/**
 * @file Runs the model's graph on a cache, a chunk at a time: makes the inputs, hands the outputs to the cache.
 */
import {
  type Backend,
  type BackendOptions,
  type CompiledGraph,
  type StepTensor,
  type TensorData,
  tensorOf,
} from '../backends/types.ts';
import type { Config } from '../config/config.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { asksFor } from '../kvcache/policy/needs.ts';
import type { CacheShape } from '../kvcache/shape.ts';
import type { ModelDefinition } from '../model/context.ts';
import { traceStep } from '../model/gpt.ts';
import { crossSpec, traceCrossStates } from '../model/mixers/cross-attention.ts';
import { projectedAttention, traceProjection } from '../model/projections.ts';
import { InputError } from '../util/errors.ts';
import { range, wholeNumber } from '../util/numbers.ts';
import type { PreparedWeights } from '../weights/types.ts';
import { bindCrossAttention, bindStates, givenPositions, statesOf } from './bind.ts';
import { BoundCache } from './bound-cache.ts';
import { cacheShape } from './cache-shape.ts';
import { CompiledGraphs } from './compiled-graphs.ts';
import { type EchoedChunk, EchoInputs } from './echo.ts';
import { graphKey, graphOptions, type StepWants } from './graph-options.ts';
import { keyProductsOf } from './key-sums.ts';
import { bindObserved, chunkSlots, lastChunks, observedOf, queriesOf, retiredArrays } from './observe.ts';
import { PositionInputs } from './position-inputs.ts';
import { bindProbe, probesOf } from './probe.ts';
import { replayOf } from './replay.ts';
import { RopeTable, ropeVariant } from './rope.ts';
import type { StepAdapters, StepOptions, StepResult } from './step-types.ts';

/** How many compiled graphs with hooks of adapters are kept. */
const MAX_ADAPTED = 8;
const ADAPTED = 'adapted:';

/** The model, ready to run: its sessions and the scratch of a step. */
export class Stepper {
  readonly config: Config;
  /** What caches of this model have to know. */
  readonly cacheShape: CacheShape;
  readonly #model: ModelDefinition;
  readonly #backend: Backend;
  readonly #graphs: CompiledGraphs;
  readonly #keyMath: ReturnType<NonNullable<Backend['keyMath']>> | undefined;
  readonly #ropes: readonly RopeTable[];
  readonly #echo: EchoInputs;
  readonly #caches = new WeakMap<KVCache, BoundCache>();
  /** Tensors over arrays of adapters, which are the same from step to step. */
  #wrapped = new WeakMap<TensorData, StepTensor>();
  #scratch: Scratch | null = null;

  constructor(model: ModelDefinition, weights: PreparedWeights, backend: Backend, options: BackendOptions) {
    const { config } = model;
    this.config = config;
    this.#keyMath = backend.keyMath?.(options);
    this.cacheShape = { ...cacheShape(config, backend.target), keyMath: this.#keyMath };
    this.#model = model;
    this.#backend = backend;
    this.#graphs = new CompiledGraphs(backend, weights, options);
    this.#ropes = config.ropes.map((rope) => new RopeTable(rope));
    this.#echo = new EchoInputs(this.#ropes);
  }

  /**
   * Runs one chunk: attends to what the cache holds and to the chunk, then gives the cache the chunk's keys and values.
   * @param chunk token ids, one list per row of the cache; rows may differ in length, and may be empty.
   * @param adapters live ones.
   * @throws InputError for token ids out of range or rows that do not fit the cache.
   * @throws CacheFullError where the chunk does not fit a dense cache.
   */
  async step(
    cache: KVCache,
    chunk: readonly ArrayLike<number>[],
    options: StepOptions = {},
    adapters: StepAdapters | null = null,
  ): Promise<StepResult> {
    const { lease, signal } = options;
    signal?.throwIfAborted(); // not all engines look at it
    this.#check(cache, chunk);
    cache.checkLease('a step', lease);
    const replay = replayOf(cache, chunk, options);
    /** Tokens that the graph reads: a row's chunk, and what comes behind it, of which nothing is stored. */
    const read = replay?.tokens ?? chunk;
    const given = givenPositions(this.config, read, replay?.positions ?? options.positions);
    cache.reserve(chunk.map((row) => row.length));
    read.forEach((tokens, row) => {
      cache.fitPositions(row, tokens.length, this.config.contextLength, lease);
    });
    const isProbed = options.probe !== undefined;
    const isInSlots = this.#backend.target.attendsInSlots?.(cache.buffer) ?? false;
    const length = Math.max(...read.map((row) => row.length));
    cache.store.open(isInSlots ? length : 0, cache.length());
    const session = await this.#session(cache, adapters, { isProbed, isReplayed: replay !== null });
    const total = (row: number) => totalLength(cache, chunk, options, row);
    const filled = this.#fill(cache, read, length, total, given);
    const rows = logitRows(chunk, length, options.logits ?? 'last');
    const inputs: Record<string, StepTensor> = { ...filled };
    inputs.logitRows = tensorOf(BigInt64Array.from(rows, BigInt), [rows.length]);
    const isPlain = given === null && replay === null && !isProbed && cache.store.states.isEmpty;
    const each = options.eachQuery ?? false;
    const placesChunk = isPlain && cache.placesChunk(length, each);
    const leavesRest = placesChunk && cache.leavesRest(length);
    if (placesChunk) cache.store.own();
    this.#bound(cache).bind(inputs);
    for (const [name, { data, dims }] of adapters?.inputs ?? []) inputs[name] = this.#wrap(data, dims);
    const times = bindStates(cache, chunk, each, read, inputs);
    const mask = replay?.crossAttentionMask ?? options.crossAttentionMask;
    bindCrossAttention(this.config, cache, { tokens: read, length, mask }, inputs);
    const observed = bindObserved(this.config, cache, { tokens: chunk, length, each, replay }, inputs);
    const sets =
      asksFor('echo', cache.rules.needs) && !replay
        ? { ...observed, echo: this.#echoSets(cache, { tokens: chunk, length, each, given, total }, inputs) }
        : observed;
    if (options.probe) bindProbe(this.config, cache, length, options.probe, inputs);
    const outputs = await session.run(inputs, { signal, placesChunk });
    const slots = chunkSlots(this.config, outputs);
    const outcome = {
      tokens: chunk,
      length,
      ...slots,
      isPlaced: placesChunk && slots.keys.every((keys) => keys === null),
      leavesRest,
      observed: observedOf(cache, sets, each, outputs),
      queries: queriesOf(this.config, cache, length, outputs),
      keyProducts: keyProductsOf(cache, outputs),
      states: times ? statesOf(cache, times, outputs) : undefined,
      ropePositions: given?.map((row, b) => row.slice(0, chunk[b].length).map((streams) => Math.max(...streams))),
      rotatedFor: chunk.map((tokens, b) => (tokens.length > 0 ? total(b) : cache.rotatedFor(b))),
      phase: options.phase ?? 'decode',
    };
    const probes = options.probe && probesOf(this.config, cache, length, outputs);
    const before = lastChunks(cache);
    cache.append(outcome, lease);
    session.recycle?.(retiredArrays(before, lastChunks(cache)));
    return { logits: outputs.logits.data, ...(probes ? { probes } : {}) };
  }

  /** Makes the session that steps with this cache run on, which takes a moment the first time. */
  async prepare(cache: KVCache, adapters: StepAdapters | null = null): Promise<void> {
    await this.#session(cache, adapters);
  }

  /** Whether the keys that a row holds were rotated as a sequence of `length` tokens wants it. */
  ropeFits(from: number, length: number): boolean {
    return this.config.ropes.every((rope) => ropeVariant(rope, from) === ropeVariant(rope, length));
  }

  /** Hooks that adapters need and this model's graph does not have. */
  withoutHooks(adapters: StepAdapters): readonly string[] {
    const options = {
      sharing: 'by-window',
      buffer: 'float32',
      sums: null,
      moments: false,
    } as const;
    return traceStep(this.#model, { ...options, adapters: adapters.hooks }, this.#backend.target).unmetHooks;
  }

  /** @throws InputError after {@link dispose}. */
  checkUsable(): void {
    this.#graphs.checkUsable();
  }

  /** Frees native memory. */
  async dispose(): Promise<void> {
    await this.#keyMath?.dispose();
    await this.#graphs.dispose();
  }

  /**
   * Sets what the model's cross-attention layers attend to for a row of a cache, instead of what was set before.
   * @param states [count, width], row-major.
   * @throws InputError where the model has no such layers, or the numbers do not fit.
   */
  async setCrossAttentionStates(cache: KVCache, states: Float32Array, row = 0): Promise<void> {
    const cross = crossSpec(this.config);
    if (!cross) throw new InputError(`${this.config.name} models have no cross-attention layers`);
    this.#checkCache(cache);
    if (wholeNumber('row', row, 0) >= cache.batch)
      throw new InputError(`row ${row} is not there: the cache has ${cache.batch}`);
    const count = states.length / cross.width;
    if (!Number.isInteger(count) || count === 0)
      throw new InputError(`the states must be rows of ${cross.width} numbers, but there are ${states.length} numbers`);
    const session = await this.#graphs.get('cross', () => traceCrossStates(this.#model, this.#backend.target));
    const outputs = await session.run({ states: tensorOf(states, [1, count, cross.width]) });
    cache.store.crossAttention.set(row, outputs.crossStates.data, count);
  }

  /**
   * The matrix that a layer's attention is projected with, transposed: [H · Dv, E], times the factors of the branch;
   * null where it is no single matrix.
   */
  async projection(layer: number): Promise<Float32Array | null> {
    const projected = projectedAttention(this.config, layer);
    if (!projected) return null;
    const key = `projection:${layer}`;
    const graph = await this.#graphs.get(key, () => traceProjection(this.#model, layer, this.#backend.target));
    const width = projected.spec.heads * projected.spec.valueSize;
    const identity = new Float32Array(width * width);
    for (let i = 0; i < width; i++) identity[i * width + i] = 1;
    const { projected: out } = await graph.run({ heads: tensorOf(identity, [1, width, width]) });
    const matrix = out.data.slice();
    await this.#graphs.dropOldest(key, 0);
    return matrix;
  }

  /** Binds the echo of a chunk. @returns how many sets there are of it. */
  #echoSets(cache: KVCache, chunk: EchoedChunk, inputs: Record<string, StepTensor>): 0 | 1 {
    // A chunk that is not read once more has no echo.
    return cache.replay ? 0 : this.#echo.bind(cache, chunk, inputs);
  }

  #session(cache: KVCache, adapters: StepAdapters | null, wants: StepWants = {}): Promise<CompiledGraph> {
    const options = graphOptions(cache, this.#bound(cache).parts, wants);
    const key = graphKey(options);
    const trace = () => traceStep(this.#model, { ...options, adapters: adapters?.hooks }, this.#backend.target).graph;
    if (!adapters) return this.#graphs.get(key, trace);
    // Batches combine adapters in many ways.
    void this.#graphs.dropOldest(ADAPTED, MAX_ADAPTED);
    return this.#graphs.get(`${ADAPTED}${key}/${adapters.key}`, trace);
  }

  #bound(cache: KVCache): BoundCache {
    let bound = this.#caches.get(cache);
    if (!bound) {
      bound = new BoundCache(cache);
      this.#caches.set(cache, bound);
    }
    return bound;
  }

  #wrap(data: TensorData, dims: readonly number[]): StepTensor {
    let tensor = this.#wrapped.get(data);
    if (!tensor) {
      tensor = tensorOf(data, dims);
      this.#wrapped.set(data, tensor);
    }
    return tensor;
  }

  #checkCache(cache: KVCache): void {
    if (cache.shape !== this.cacheShape)
      throw new InputError('this cache is of another model: make one with createCache of the model that it is for');
  }

  #check(cache: KVCache, chunk: readonly ArrayLike<number>[]): void {
    this.#checkCache(cache);
    if (chunk.length !== cache.batch)
      throw new InputError(`the chunk has ${chunk.length} rows, but the cache has ${cache.batch}`);
    if (chunk.every((row) => row.length === 0)) throw new InputError('the chunk is empty');
    const { embedRows: vocabulary, contextLength, position } = this.config;
    for (const [row, tokens] of chunk.entries())
      for (let i = 0; i < tokens.length; i++)
        if (!Number.isInteger(tokens[i]) || tokens[i] < 0 || tokens[i] >= vocabulary)
          throw new InputError(
            `token id ${tokens[i]} (row ${row}, token ${i}) is not in the model's vocabulary of ${vocabulary}`,
          );
    chunk.forEach((tokens, row) => {
      const end = cache.length(row) + tokens.length;
      if (position === 'learned' && end > contextLength)
        throw new InputError(`the model has learned ${contextLength} positions, and row ${row} would reach ${end}`);
    });
  }

  /** Token ids, positions and rotations of the chunk. */
  #fill(
    cache: KVCache,
    chunk: readonly ArrayLike<number>[],
    length: number,
    total: (row: number) => number,
    given: readonly (readonly number[][])[] | null,
  ): Readonly<Record<string, StepTensor>> {
    const learned = this.config.position === 'learned';
    if (this.#scratch?.batch !== cache.batch || this.#scratch.length !== length)
      this.#scratch = new Scratch(cache.batch, length, this.#ropes, learned);
    const { ids, positionIds, positions, tensors } = this.#scratch;
    for (let b = 0; b < cache.batch; b++) {
      const first = cache.length(b);
      positions.fillRow(b, { first, ropePosition: cache.ropePosition(b), given: given?.[b], sequence: total(b) });
      for (let t = 0; t < length; t++) {
        const at = b * length + t;
        ids[at] = BigInt(t < chunk[b].length ? chunk[b][t] : 0);
        if (learned)
          positionIds[at] = BigInt(Math.min(first + t, this.config.contextLength - 1) + this.config.positionOffset);
      }
    }
    return tensors;
  }
}

/** The small inputs of a chunk of one size, made once and filled anew for each step. */
class Scratch {
  readonly batch: number;
  readonly length: number;
  readonly ids: BigInt64Array;
  readonly positions: PositionInputs;
  /** Rows of the table of learned positions. */
  readonly positionIds: BigInt64Array;
  readonly tensors: Readonly<Record<string, StepTensor>>;

  constructor(batch: number, length: number, ropes: readonly RopeTable[], learned: boolean) {
    const n = batch * length;
    const dims = [batch, length];
    this.batch = batch;
    this.length = length;
    this.ids = new BigInt64Array(n);
    this.positionIds = new BigInt64Array(n);
    this.positions = new PositionInputs(ropes, batch, length);
    this.tensors = {
      ids: tensorOf(this.ids, dims),
      ...this.positions.tensors,
      ...(learned && { positionIds: tensorOf(this.positionIds, dims) }),
      ...(ropes.length > 0 && { ropeIndex: tensorOf(BigInt64Array.from(range(n), BigInt), dims) }),
    };
  }
}

function logitRows(chunk: readonly ArrayLike<number>[], length: number, which: 'none' | 'last' | 'all'): number[] {
  if (which === 'none') return [];
  return chunk.flatMap((row, b) => {
    if (row.length === 0) return [];
    if (which === 'last') return [b * length + row.length - 1];
    return Array.from({ length: row.length }, (_, t) => b * length + t);
  });
}

/** Length of a row's sequence, as far as it is known: keys are rotated for it. */
function totalLength(
  cache: KVCache,
  chunk: readonly ArrayLike<number>[],
  { lengths }: StepOptions,
  row: number,
): number {
  return lengths?.[row] ?? cache.length(row) + chunk[row].length;
}
