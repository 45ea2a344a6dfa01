/**
 * @file Runs the model's graph on a cache, a chunk at a time: makes the inputs, hands the outputs to the cache.
 */
import type { Config } from '../config/config.ts';
import { InputError } from '../errors.ts';
import type { ChunkOutputs, ObservedWeights } from '../kvcache/chunk.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { CacheShape } from '../kvcache/shape.ts';
import type { Runtime, RuntimeTensor, Session, SessionOptions, TensorData } from '../runtime/types.ts';
import type { PreparedWeights, WeightFormat } from '../weights/types.ts';
import { needsPositions } from './bias.ts';
import { cacheShape } from './cache-shape.ts';
import { buildStep, type StepGraphOptions } from './gpt.ts';
import { RopeTable, ropeVariant } from './rope.ts';

export interface StepOptions {
  /** Which tokens' logits are wanted: none, each row's last, or all of them (padding left out). `last` unless stated. */
  readonly logits?: 'none' | 'last' | 'all';
  /**
   * Lengths of the whole sequences as far as they are known (a prompt that comes in chunks), per row: some rotary scalings
   * depend on them. Unless stated, what the row holds after this chunk.
   */
  readonly lengths?: readonly number[];
  /** Whether these are tokens of a prompt, the last of a prompt, or (unless stated) tokens that were written. */
  readonly phase?: ChunkOutputs['phase'];
  /**
   * Lets a cache whose policy watches the attention tell the chunk's queries apart, so that a part of the chunk can be taken
   * back. For short chunks.
   */
  readonly eachQuery?: boolean;
}

export interface StepResult {
  /** [N, V] in the order of rows and tokens. */
  readonly logits: Float32Array;
}

/** The model, ready to run: its sessions and the scratch of a step. */
export class Stepper {
  readonly config: Config;
  /** What caches of this model have to know. */
  readonly cacheShape: CacheShape;
  readonly #weights: PreparedWeights;
  readonly #format: WeightFormat;
  readonly #runtime: Runtime;
  readonly #options: SessionOptions;
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #ropes: readonly RopeTable[];
  /** Tensors over arrays that live on from step to step. */
  #wrapped = new WeakMap<TensorData, RuntimeTensor>();
  #scratch: Scratch | null = null;
  #released = false;

  constructor(
    config: Config,
    weights: PreparedWeights,
    format: WeightFormat,
    runtime: Runtime,
    options: SessionOptions,
  ) {
    this.config = config;
    this.cacheShape = cacheShape(config);
    this.#weights = weights;
    this.#format = format;
    this.#runtime = runtime;
    this.#options = options;
    this.#ropes = config.ropes.map((rope) => new RopeTable(rope));
  }

  /**
   * Runs one chunk: attends to what the cache holds and to the chunk, then gives the cache the chunk's keys and values.
   * @param chunk token ids, one list per row of the cache; rows may differ in length, and may be empty.
   * @throws InputError for token ids out of range or rows that do not fit the cache.
   * @throws CacheFullError where a dense cache has no room.
   */
  async step(cache: KVCache, chunk: readonly ArrayLike<number>[], options: StepOptions = {}): Promise<StepResult> {
    this.#check(cache, chunk);
    cache.reserve(chunk.map((row) => row.length));
    chunk.forEach((tokens, row) => {
      cache.makePlace(row, tokens.length, this.config.blockSize);
    });
    cache.open();
    const observe = cache.needs.length > 0;
    const session = await this.#session(cache, observe);
    const length = Math.max(...chunk.map((row) => row.length));
    const scratch = this.#fill(cache, chunk, length, options);
    const rows = logitRows(chunk, length, options.logits ?? 'last');
    const inputs: Record<string, RuntimeTensor> = { ...scratch.tensors };
    inputs.logitRows = this.#runtime.tensor(BigInt64Array.from(rows, BigInt), [rows.length]);
    this.#bindCache(cache, inputs);
    const sets = observe ? this.#bindQueryWeights(cache, chunk, length, options.eachQuery ?? false, inputs) : 0;
    if (cache.needsQueries) inputs.momentWeights = this.#momentWeights(chunk, length);
    const outputs = await session.run(inputs);
    const observed: ObservedWeights | undefined = observe
      ? {
          sets,
          each: options.eachQuery ?? false,
          capacity: new Map([...cache.tables].map(([name, table]) => [name, table.capacity])),
          weights: new Map(
            [...cache.tables.keys()].map((name) => [name, outputs[`sums.${name}`].data as Float32Array]),
          ),
        }
      : undefined;
    const present = outputs.present.data as Float32Array;
    const queries = cache.needsQueries
      ? {
          sum: outputs['moments.sum'].data as Float32Array,
          outer: outputs['moments.outer'].data as Float32Array,
          order: this.cacheShape.layers.map((_, l) => l),
        }
      : undefined;
    cache.append({ tokens: chunk, length, present, observed, queries, phase: options.phase ?? 'decode' });
    return { logits: outputs.logits.data as Float32Array };
  }

  /** What the cache holds, as inputs of the graph. */
  #bindCache(cache: KVCache, inputs: Record<string, RuntimeTensor>): void {
    const { config } = this;
    for (const [name, table] of cache.tables) {
      const plane = needsPositions(config, table.layers[0]) ? table.positions : table.hidden;
      inputs[`slots.${name}`] = this.#wrap(plane.data, [cache.batch, table.groups, 1, 1, table.capacity]);
      for (const l of table.layers)
        for (const { name: part, data, width } of cache.buffers[l]!.inputs())
          inputs[`${part}.${l}`] = this.#wrap(data, [cache.batch, config.nQueryGroups, 1, table.capacity, width]);
    }
  }

  /**
   * Which queries count for which sum.
   * @param each every query gets a sum of its own, so that the chunk can be cut later.
   * @returns the number of sums.
   */
  #bindQueryWeights(
    cache: KVCache,
    chunk: readonly ArrayLike<number>[],
    length: number,
    each: boolean,
    inputs: Record<string, RuntimeTensor>,
  ): number {
    const R = this.config.nHead / this.config.nQueryGroups;
    const sets = each ? length : cache.needs.length;
    const data = new Float32Array(cache.batch * sets * R * length);
    chunk.forEach((tokens, b) => {
      const rows = each ? null : cache.queryWeights(tokens.length);
      for (let set = 0; set < sets; set++)
        for (let r = 0; r < R; r++)
          for (let t = 0; t < tokens.length; t++)
            data[((b * sets + set) * R + r) * length + t] = rows ? rows[set][t] : Number(t === set);
    });
    inputs.queryWeights = this.#runtime.tensor(data, [cache.batch, 1, sets, R * length]);
    return sets;
  }

  /** Every token counts once, padding not at all. */
  #momentWeights(chunk: readonly ArrayLike<number>[], length: number): RuntimeTensor {
    const data = new Float32Array(chunk.length * length);
    chunk.forEach((tokens, b) => {
      data.fill(1, b * length, b * length + tokens.length);
    });
    return this.#runtime.tensor(data, [chunk.length, 1, 1, length]);
  }

  /** Makes the session that steps with this cache run on, which takes a moment the first time. */
  async prepare(cache: KVCache): Promise<void> {
    await this.#session(cache, cache.needs.length > 0);
  }

  /** Whether the keys that a row holds were rotated as a sequence of `length` tokens wants it. */
  ropeFits(from: number, length: number): boolean {
    return this.config.ropes.every((rope) => ropeVariant(rope, from) === ropeVariant(rope, length));
  }

  /** Gives native memory back. */
  async release(): Promise<void> {
    this.#released = true;
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const session of sessions) await (await session).release();
  }

  #session({ mode: classes, bufferKind: buffer, needsQueries: moments }: KVCache, sums: boolean): Promise<Session> {
    if (this.#released) throw new InputError('the model was disposed of and can not be used any more');
    const options: StepGraphOptions = { format: this.#format, classes, buffer, sums, moments };
    const key = `${classes}/${buffer}/${sums}/${moments}`;
    const known = this.#sessions.get(key);
    if (known) return known;
    const graph = buildStep(this.config, options);
    const session = this.#runtime.createSession(graph.serialise(this.#weights), this.#weights, this.#options);
    this.#sessions.set(key, session);
    return session;
  }

  #wrap(data: TensorData, dims: readonly number[]): RuntimeTensor {
    let tensor = this.#wrapped.get(data);
    if (!tensor) {
      tensor = this.#runtime.tensor(data, dims);
      this.#wrapped.set(data, tensor);
    }
    return tensor;
  }

  #check(cache: KVCache, chunk: readonly ArrayLike<number>[]): void {
    if (cache.shape !== this.cacheShape)
      throw new InputError('this cache is of another model: make one with createCache of the model that it is for');
    if (chunk.length !== cache.batch)
      throw new InputError(`the chunk has ${chunk.length} rows, but the cache has ${cache.batch}`);
    if (chunk.every((row) => row.length === 0)) throw new InputError('the chunk is empty');
    const { embedRows: vocabulary, blockSize, position } = this.config;
    for (const [row, tokens] of chunk.entries())
      for (let i = 0; i < tokens.length; i++)
        if (!Number.isInteger(tokens[i]) || tokens[i] < 0 || tokens[i] >= vocabulary)
          throw new InputError(
            `token id ${tokens[i]} (row ${row}, place ${i}) is not in the model's vocabulary of ${vocabulary}`,
          );
    chunk.forEach((tokens, row) => {
      const end = cache.length(row) + tokens.length;
      if (position === 'learned' && end > blockSize)
        throw new InputError(`the model has learned ${blockSize} positions, and row ${row} would reach ${end}`);
    });
  }

  /** Token ids, positions and rotations of the chunk; padding repeats the row's last position. */
  #fill(cache: KVCache, chunk: readonly ArrayLike<number>[], length: number, options: StepOptions): Scratch {
    const B = cache.batch;
    const learned = this.config.position === 'learned';
    if (this.#scratch?.batch !== B || this.#scratch.length !== length)
      this.#scratch = new Scratch(this.#runtime, B, length, this.#ropes, learned);
    const scratch = this.#scratch;
    for (let b = 0; b < B; b++) {
      const first = cache.length(b);
      const place = cache.place(b);
      const total = options.lengths?.[b] ?? first + chunk[b].length;
      for (let t = 0; t < length; t++) {
        const at = b * length + t;
        const position = first + t;
        scratch.ids[at] = BigInt(t < chunk[b].length ? chunk[b][t] : 0);
        scratch.positions[at] = position;
        if (learned)
          scratch.places[at] = BigInt(Math.min(position, this.config.blockSize - 1) + this.config.positionOffset);
        for (const [i, rope] of this.#ropes.entries())
          rope.write(scratch.cos[i], scratch.sin[i], at * rope.pairs, place + t, total);
      }
    }
    return scratch;
  }
}

/** The small inputs of a chunk of one size, made once and filled anew for each step. */
class Scratch {
  readonly batch: number;
  readonly length: number;
  readonly ids: BigInt64Array;
  readonly positions: Float32Array;
  /** Rows of the table of learned positions. */
  readonly places: BigInt64Array;
  readonly cos: readonly Float32Array[];
  readonly sin: readonly Float32Array[];
  readonly tensors: Readonly<Record<string, RuntimeTensor>>;

  constructor(runtime: Runtime, batch: number, length: number, ropes: readonly RopeTable[], learned: boolean) {
    const n = batch * length;
    this.batch = batch;
    this.length = length;
    this.ids = new BigInt64Array(n);
    this.positions = new Float32Array(n);
    this.places = new BigInt64Array(n);
    this.cos = ropes.map((rope) => new Float32Array(n * rope.pairs));
    this.sin = ropes.map((rope) => new Float32Array(n * rope.pairs));
    const tensors: Record<string, RuntimeTensor> = {
      ids: runtime.tensor(this.ids, [batch, length]),
      positions: runtime.tensor(this.positions, [batch, 1, 1, 1, length]),
    };
    if (learned) tensors.places = runtime.tensor(this.places, [batch, length]);
    ropes.forEach((rope, i) => {
      tensors[`cos.${i}`] = runtime.tensor(this.cos[i], [n, rope.pairs]);
      tensors[`sin.${i}`] = runtime.tensor(this.sin[i], [n, rope.pairs]);
    });
    if (ropes.length > 0)
      tensors.ropeIndex = runtime.tensor(
        BigInt64Array.from({ length: n }, (_, i) => BigInt(i)),
        [batch, length],
      );
    this.tensors = tensors;
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
