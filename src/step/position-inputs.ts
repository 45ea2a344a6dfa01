/**
 * @file The positions of a chunk's tokens, and their rotations, as inputs of a step.
 */
import { type StepTensor, tensorOf } from '../backends/types.ts';
import { INPUT } from '../ops/step-names.ts';
import type { RopeTable } from './rope.ts';

/** Where the tokens of a row are. */
export interface RowPositions {
  /** The position of its first token. */
  readonly first: number;
  /** The position that its first token is rotated to. */
  readonly ropePosition: number;
  /** Per token, where the caller gave positions to rotate to: one for each stream. */
  readonly given?: readonly (readonly number[])[];
  /** The length that its keys are rotated for. */
  readonly sequence: number;
}

/** Inputs of a chunk of one size, made once and filled anew for each step: `positions`, `cos.I`, `sin.I`. */
export class PositionInputs {
  readonly batch: number;
  readonly length: number;
  readonly tensors: Readonly<Record<string, StepTensor>>;
  readonly #ropes: readonly RopeTable[];
  readonly #positions: Float32Array;
  readonly #cos: readonly Float32Array[];
  readonly #sin: readonly Float32Array[];

  /** @param named makes the names that the inputs have of their own. */
  constructor(ropes: readonly RopeTable[], batch: number, length: number, named = (name: string): string => name) {
    const n = batch * length;
    this.batch = batch;
    this.length = length;
    this.#ropes = ropes;
    this.#positions = new Float32Array(n);
    this.#cos = ropes.map(({ pairs }) => new Float32Array(n * pairs));
    this.#sin = ropes.map(({ pairs }) => new Float32Array(n * pairs));
    const tensors: Record<string, StepTensor> = {
      [named('positions')]: tensorOf(this.#positions, [batch, length]),
    };
    for (const [i, { pairs }] of ropes.entries()) {
      tensors[named(INPUT.cos(i))] = tensorOf(this.#cos[i], [n, pairs]);
      tensors[named(INPUT.sin(i))] = tensorOf(this.#sin[i], [n, pairs]);
    }
    this.tensors = tensors;
  }

  /** Tokens of padding go on behind the row's last. */
  fillRow(row: number, { first, ropePosition, given, sequence }: RowPositions): void {
    for (let t = 0; t < this.length; t++) {
      const at = row * this.length + t;
      this.#positions[at] = first + t;
      for (const [i, rope] of this.#ropes.entries())
        rope.write(this.#cos[i], this.#sin[i], at * rope.pairs, given?.[t] ?? ropePosition + t, sequence);
    }
  }
}
