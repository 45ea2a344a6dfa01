/**
 * @file Runs encoders: makes the inputs of a batch of sequences, and says what came out.
 */
import { type Backend, type BackendOptions, type StepTensor, tensorOf } from '../backends/types.ts';
import { type Config, type OutputKind, positionStreams } from '../config/config.ts';
import { HIDDEN } from '../kvcache/slots/slots.ts';
import type { ModelDefinition } from '../model/context.ts';
import { vectorWidth } from '../model/embedding.ts';
import { encoderOutputs, needsOrder, traceEncoder } from '../model/encoder.ts';
import { INPUT } from '../ops/step-names.ts';
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import type { PreparedWeights } from '../weights/types.ts';
import { readPositions } from './bind.ts';
import { CompiledGraphs } from './compiled-graphs.ts';
import { RopeTable } from './rope.ts';
import type { TokenPositions } from './step-types.ts';

/** An image, as the model's processor makes it: normalized, channel after channel. */
export interface EncoderImage {
  /** [channels, height, width] */
  readonly pixels: Float32Array;
  readonly width: number;
  readonly height: number;
}

/** What an encoder takes, row by row. Which of them it is, the model's config says (`input`). */
export type EncoderInput =
  | { readonly ids: readonly ArrayLike<number>[] }
  /** Vectors of the model's width, one behind the other. */
  | { readonly vectors: readonly Float32Array[] }
  | { readonly images: readonly EncoderImage[] };

/** Options of one run of an encoder. */
export interface EncodeOptions {
  /** Per row: 1 for a token, 0 for padding. Rows may differ in length without a mask. @default all are tokens */
  readonly mask?: readonly ArrayLike<number>[];
  /**
   * Per row: positions of its tokens, one list for each of the model's streams.
   * @default their indices in the row, or in the image
   */
  readonly positions?: readonly TokenPositions[];
  /**
   * Per row: which segment of the text each token is of (BERT's token types), for models that have them.
   * @default 0 for all tokens
   */
  readonly tokenTypes?: readonly ArrayLike<number>[];
  /** What is wanted; every encoder can give `hidden`. @default the config's `output` */
  readonly output?: OutputKind;
}

/** What an encoder gives. */
export interface EncodeResult {
  /** [rows, T, width], or [rows, width] where a row is `pooled`. Values of padding are undefined. */
  readonly data: Float32Array;
  /** The dimensions of `data`. */
  readonly shape: readonly number[];
  /** Per row: how many of the T are its own. */
  readonly lengths: readonly number[];
}

/** Rows, as the graph takes them. */
interface Batch {
  readonly lengths: readonly number[];
  readonly source: readonly [name: string, tensor: StepTensor];
  /** Per row and stream; null: the indices in the row. */
  readonly positions: readonly (readonly number[][])[] | null;
  readonly ids: readonly ArrayLike<number>[] | null;
}

/** Of embeddings, the share that training left out of what a masked token stands for: 15 % of tokens, 80 % of these. */
const TRAINED_DROP = 0.15 * 0.8;

/** An encoder, ready to run. */
export class Encoder {
  readonly config: Config;
  readonly #model: ModelDefinition;
  readonly #backend: Backend;
  readonly #graphs: CompiledGraphs;
  readonly #ropes: readonly RopeTable[];

  constructor(model: ModelDefinition, weights: PreparedWeights, backend: Backend, options: BackendOptions) {
    const { config } = model;
    this.config = config;
    this.#model = model;
    this.#backend = backend;
    this.#graphs = new CompiledGraphs(backend, weights, options);
    this.#ropes = config.ropes.map((rope) => new RopeTable(rope));
  }

  /** @throws InputError for what does not fit the model, and after {@link dispose}. */
  async run(input: EncoderInput, options: EncodeOptions = {}): Promise<EncodeResult> {
    const output = options.output ?? this.config.output;
    const possible = encoderOutputs(this.config);
    if (!possible.includes(output))
      throw new InputError(`${this.config.name} models give ${possible.join(' or ')}, but "${output}" was asked for`);
    if (Object.values(input)[0].length === 0) throw new InputError('there is nothing to encode');
    const batch = this.#batch(input);
    const B = batch.lengths.length;
    const T = Math.max(...batch.lengths);
    const mask = this.#mask(batch, T, options.mask);
    const [name, tensor] = batch.source;
    const inputs: Record<string, StepTensor> = {
      [name]: tensor,
      mask: tensorOf(
        mask.map((seen) => (seen ? 0 : HIDDEN)),
        [B, T],
      ),
    };
    this.#bindPositions(batch, mask, T, options.positions, inputs);
    if (options.tokenTypes && this.config.tokenTypes === 0)
      throw new InputError(`${this.config.name} models have no token types: leave "tokenTypes" out`);
    if (this.config.tokenTypes > 0) inputs.tokenTypes = this.#tokenTypes(batch, T, options.tokenTypes);
    if (this.config.droppedToken !== null) inputs.embedFactors = this.#embedFactors(batch, mask, T);
    const trace = () => traceEncoder(this.#model, output, this.#backend.target);
    const { encoded } = await (await this.#graphs.get(output, trace)).run(inputs);
    return { data: encoded.data, shape: encoded.dims, lengths: batch.lengths };
  }

  /** Frees native memory. */
  dispose(): Promise<void> {
    return this.#graphs.dispose();
  }

  #batch(input: EncoderInput): Batch {
    const { input: kind, name } = this.config;
    const given = 'ids' in input ? 'tokens' : 'vectors' in input ? 'vectors' : 'patches';
    if (given !== kind) throw new InputError(`${name} models take ${TAKES[kind]}, but ${TAKES[given]} were given`);
    if ('ids' in input) return this.#tokens(input.ids);
    const width = vectorWidth(this.config);
    if ('images' in input) {
      const cut = input.images.map((image, row) => this.#patches(image, row));
      return this.#vectors(
        cut.map(({ patches }) => patches),
        width,
        cut.map(({ rows, columns }) => [rows, columns]),
      );
    }
    return this.#vectors(input.vectors, width, null);
  }

  #tokens(rows: readonly ArrayLike<number>[]): Batch {
    const { embedRows } = this.config;
    const lengths = rows.map((row) => row.length);
    const T = Math.max(...lengths);
    const data = new BigInt64Array(rows.length * T);
    rows.forEach((row, b) => {
      checkLength(row.length, b);
      for (let t = 0; t < row.length; t++) {
        if (!Number.isInteger(row[t]) || row[t] < 0 || row[t] >= embedRows)
          throw new InputError(
            `token id ${row[t]} (row ${b}, token ${t}) is not in the model's vocabulary of ${embedRows}`,
          );
        data[b * T + t] = BigInt(row[t]);
      }
    });
    return { lengths, source: ['ids', tensorOf(data, [rows.length, T])], positions: null, ids: rows };
  }

  #vectors(rows: readonly Float32Array[], width: number, positions: readonly (readonly number[][])[] | null): Batch {
    const lengths = rows.map((row, b) => {
      if (row.length % width !== 0)
        throw new InputError(`row ${b} must hold vectors of ${width} numbers, but holds ${row.length} numbers`);
      checkLength(row.length, b);
      return row.length / width;
    });
    const T = Math.max(...lengths);
    const data = new Float32Array(rows.length * T * width);
    rows.forEach((row, b) => {
      data.set(row, b * T * width);
    });
    return {
      lengths,
      source: ['vectors', tensorOf(data, [rows.length, T, width])],
      positions,
      ids: null,
    };
  }

  /** The squares of an image, row by row: [N, channels·size²], and where each of them lies. */
  #patches({ pixels, width, height }: EncoderImage, row: number) {
    const { size, channels, most } = this.config.patch!;
    const [down, across] = [height / size, width / size];
    if (!Number.isInteger(down) || !Number.isInteger(across) || down < 1 || across < 1)
      throw new InputError(`image ${row} is ${width} x ${height}, which is not cut into squares of ${size} pixels`);
    if (down > most || across > most)
      throw new InputError(
        `image ${row} is ${width} x ${height}, but the model was made for up to ${most * size} a side`,
      );
    if (pixels.length !== channels * width * height)
      throw new InputError(`image ${row} has ${pixels.length} numbers instead of ${channels} x ${height} x ${width}`);
    const patches = new Float32Array(pixels.length);
    let to = 0;
    for (let i = 0; i < down; i++)
      for (let j = 0; j < across; j++)
        for (let c = 0; c < channels; c++)
          for (let y = 0; y < size; y++) {
            const from = (c * height + i * size + y) * width + j * size;
            patches.set(pixels.subarray(from, from + size), to);
            to += size;
          }
    const indices = range(down * across);
    return { patches, rows: indices.map((n) => Math.floor(n / across)), columns: indices.map((n) => n % across) };
  }

  /** 1 for tokens, 0 for padding [B·T]. */
  #mask({ lengths }: Batch, T: number, given: EncodeOptions['mask']): Float32Array {
    if (given) checkRows('the mask', given, lengths);
    const mask = new Float32Array(lengths.length * T);
    lengths.forEach((length, b) => {
      for (let t = 0; t < length; t++) mask[b * T + t] = given ? Number(Boolean(given[b][t])) : 1;
      if (!mask.subarray(b * T, b * T + length).includes(1)) throw new InputError(`the mask hides all of row ${b}`);
    });
    return mask;
  }

  #bindPositions(
    batch: Batch,
    mask: Float32Array,
    T: number,
    given: EncodeOptions['positions'],
    inputs: Record<string, StepTensor>,
  ): void {
    const { config } = this;
    const B = batch.lengths.length;
    const streams = Math.max(1, ...config.ropes.map(positionStreams));
    const learned = config.position === 'learned';
    if (given && (config.position === 'none' || config.position === 'alibi'))
      throw new InputError(`${config.name} models have no positions of tokens: leave "positions" out`);
    const stated = given ? readPositions(given, batch.lengths, streams) : batch.positions;
    // Tables that begin with rows for padding (ESM, RoBERTa) are indexed by the count of tokens; all other positions
    // count padding, too.
    const countsTokens = learned && config.positionOffset > 0;
    const usual = (b: number) => range(T).map((t) => (countsTokens ? tokensBefore(mask, b * T, t) : t));
    const rows = range(B).map((b) => stated?.[b] ?? new Array<number[]>(streams).fill(usual(b)));
    const at = (b: number, t: number) => rows[b].map((list) => list[Math.min(t, list.length - 1)]);
    if (needsOrder(config))
      inputs.order = tensorOf(
        Float32Array.from({ length: B * T }, (_, i) => i % T),
        [B, T],
      );
    if (learned)
      inputs.positionIds = tensorOf(
        BigInt64Array.from({ length: B * T }, (_, i) => {
          const [position] = at(Math.floor(i / T), i % T);
          if (position >= config.contextLength && mask[i] === 1)
            throw new InputError(
              `the model has learned ${config.contextLength} positions, and ${position} is beyond them`,
            );
          return BigInt(Math.min(position, config.contextLength - 1) + config.positionOffset);
        }),
        [B, T],
      );
    if (config.ropes.length === 0) return;
    inputs.ropeIndex = tensorOf(BigInt64Array.from(range(B * T), BigInt), [B, T]);
    this.#ropes.forEach((rope, i) => {
      const [cos, sin] = [new Float32Array(B * T * rope.pairs), new Float32Array(B * T * rope.pairs)];
      for (let n = 0; n < B * T; n++)
        rope.write(cos, sin, n * rope.pairs, at(Math.floor(n / T), n % T), Math.max(...batch.lengths));
      inputs[INPUT.cos(i)] = tensorOf(cos, [B * T, rope.pairs]);
      inputs[INPUT.sin(i)] = tensorOf(sin, [B * T, rope.pairs]);
    });
  }

  #tokenTypes({ lengths }: Batch, T: number, given: EncodeOptions['tokenTypes']): StepTensor {
    const types = new BigInt64Array(lengths.length * T);
    if (given) checkRows('tokenTypes', given, lengths);
    given?.forEach((row, b) => {
      for (let t = 0; t < row.length; t++) {
        if (!Number.isInteger(row[t]) || row[t] < 0 || row[t] >= this.config.tokenTypes)
          throw new InputError(
            `tokenTypes of row ${b}, token ${t} is ${row[t]}, but the model has ${this.config.tokenTypes} types, from 0 on`,
          );
        types[b * T + t] = BigInt(row[t]);
      }
    });
    return tensorOf(types, [lengths.length, T]);
  }

  /** Nothing of the dropped token and of padding, and as much more of the others. */
  #embedFactors({ ids, lengths }: Batch, mask: Float32Array, T: number): StepTensor {
    const { droppedToken } = this.config;
    const factors = new Float32Array(mask.length);
    lengths.forEach((length, b) => {
      const row = range(length);
      const count = row.filter((t) => mask[b * T + t] === 1).length;
      const dropped = row.filter((t) => ids![b][t] === droppedToken).length;
      if (dropped >= count) throw new InputError(`row ${b} holds nothing but masked tokens`);
      const factor = (1 - TRAINED_DROP) / (1 - dropped / count);
      for (const t of row) factors[b * T + t] = ids![b][t] === droppedToken || mask[b * T + t] === 0 ? 0 : factor;
    });
    return tensorOf(factors, [lengths.length, T, 1]);
  }
}

const TAKES = { tokens: 'token ids', vectors: 'vectors', patches: 'images' } as const;

/** @throws InputError where an option does not have an entry for each token of each row. */
function checkRows(what: string, given: readonly ArrayLike<number>[], lengths: readonly number[]): void {
  if (given.length !== lengths.length)
    throw new InputError(`${what} has ${given.length} rows, but there are ${lengths.length}`);
  given.forEach((row, b) => {
    if (row.length !== lengths[b])
      throw new InputError(`${what} of row ${b} has ${row.length} entries, but the row ${lengths[b]}`);
  });
}

function checkLength(length: number, row: number): void {
  if (length === 0) throw new InputError(`row ${row} is empty`);
}

/** How many of the first `t` are no padding. */
function tokensBefore(mask: Float32Array, start: number, t: number): number {
  let count = 0;
  for (let i = start; i < start + t; i++) count += mask[i];
  return count;
}
