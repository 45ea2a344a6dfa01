/**
 * @file Inputs of the echo: the chunk's positions if it were read once more, right behind itself.
 */
import { type StepTensor, tensorOf } from '../backends/types.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { INPUT } from '../ops/step-names.ts';
import { PositionInputs } from './position-inputs.ts';
import type { RopeTable } from './rope.ts';

/** What the positions of a chunk are made of. */
export interface EchoedChunk {
  readonly tokens: readonly ArrayLike<number>[];
  /** Of the longest row. */
  readonly length: number;
  /** Whether the chunk may be cut later: it has no echo then. */
  readonly each: boolean;
  /** Per row and token, where the caller gave positions. */
  readonly given: readonly (readonly number[][])[] | null;
  /** The length that a row's keys are rotated for. */
  readonly total: (row: number) => number;
}

/** The inputs of an echo, of chunks of the size that came last. */
export class EchoInputs {
  readonly #ropes: readonly RopeTable[];
  #positions: PositionInputs | null = null;
  #mask = new Float32Array(0);

  constructor(ropes: readonly RopeTable[]) {
    this.#ropes = ropes;
  }

  /**
   * Adds the inputs of a step to `inputs`, which has those of its positions. @returns E: 0 where no row has an echo.
   */
  bind(cache: KVCache, chunk: EchoedChunk, inputs: Record<string, StepTensor>): 0 | 1 {
    const { tokens, length, each } = chunk;
    if (each || tokens.every((row) => row.length < 2)) {
      // Nothing reads them.
      inputs[INPUT.echo('positions')] = inputs.positions;
      inputs[INPUT.echo('mask')] = tensorOf(new Float32Array(0), [tokens.length, 0, length]);
      for (const i of this.#ropes.keys())
        for (const name of [INPUT.cos(i), INPUT.sin(i)]) inputs[INPUT.echo(name)] = inputs[name];
      return 0;
    }
    const batch = tokens.length;
    if (this.#positions?.batch !== batch || this.#positions.length !== length) {
      this.#positions = new PositionInputs(this.#ropes, batch, length, INPUT.echo);
      this.#mask = new Float32Array(batch * length);
    }
    for (let row = 0; row < batch; row++) this.#fillRow(this.#positions, cache, chunk, row);
    Object.assign(inputs, this.#positions.tensors);
    inputs[INPUT.echo('mask')] = tensorOf(this.#mask, [batch, 1, length]);
    return 1;
  }

  #fillRow(
    positions: PositionInputs,
    cache: KVCache,
    { tokens, length, given, total }: EchoedChunk,
    row: number,
  ): void {
    const count = tokens[row].length;
    positions.fillRow(row, {
      first: cache.length(row) + count,
      ropePosition: cache.ropePosition(row) + count,
      given: given?.[row].map((streams) => streams.map((position) => position + count)),
      sequence: total(row),
    });
    for (let t = 0; t < length; t++) this.#mask[row * length + t] = Number(count > 1 && t < count);
  }
}
