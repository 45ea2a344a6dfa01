/**
 * @file `qh2o`: heavy hitters that quantisation left whole.
 */
import { InputError } from '../../util/errors.ts';
import type { CacheShape } from '../shape.ts';
import { distance } from '../vectors.ts';
import type { GroupView, LayerView } from '../view.ts';
import { H2OKVCache, type H2OOptions } from './h2o.ts';

export interface QuantisedH2OOptions extends H2OOptions {
  /** c: how much the attention counts against the error, from 0 to 1; 0.5 unless stated. */
  readonly c?: number;
}

/**
 * H2O for quantised slots (awslabs/keys_values' qh2o): c·N(S) − (1 − c)·N(e), where e_j = ‖k − k̂‖ + ‖v − v̂‖ is what a slot lost
 * when it was stored, and N scales to [0, 1] within the group (a constant is 0). With c = 1 it is h2o.
 */
export class QuantisedH2OKVCache extends H2OKVCache {
  override readonly policy = 'qh2o';
  readonly c: number;
  readonly #exact: Float32Array;
  readonly #stored: Float32Array;

  /** @throws InputError for slots that are not quantised, or c out of bounds. */
  constructor(shape: CacheShape, options: QuantisedH2OOptions) {
    super(shape, options, { columns: 2 });
    if (this.bufferKind === 'float32')
      throw new InputError(
        'qh2o weighs the error of quantised slots: choose a buffer such as int8 or int4, or the policy h2o',
      );
    this.c = options.c ?? 0.5;
    if (!(this.c >= 0 && this.c <= 1)) throw new InputError(`c must be from 0 to 1, but is ${this.c}`);
    this.#exact = new Float32Array(shape.headSize);
    this.#stored = new Float32Array(shape.headSize);
  }

  protected override score(group: GroupView, view: LayerView): void {
    super.score(group, view);
    const errors = group.columns[1];
    for (let j = group.held; j < group.length; j++) {
      group.readExactKey(j, this.#exact);
      group.readKey(j, this.#stored);
      const key = distance(this.#exact, this.#stored);
      group.readExactValue(j, this.#exact);
      group.readValue(j, this.#stored);
      errors[j] = key + distance(this.#exact, this.#stored);
    }
  }

  protected override rank(group: GroupView, view: LayerView): void {
    super.rank(group, view);
    const {
      values,
      columns: [, errors],
      length,
    } = group;
    const attention = scaling(values, length);
    const error = scaling(errors, length);
    for (let j = 0; j < length; j++) values[j] = this.c * attention(values[j]) - (1 - this.c) * error(errors[j]);
  }
}

/** What brings numbers to [0, 1]. */
function scaling(numbers: Float64Array, length: number): (x: number) => number {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < length; j++) {
    min = Math.min(min, numbers[j]);
    max = Math.max(max, numbers[j]);
  }
  const scale = max > min ? 1 / (max - min) : 0;
  return (x) => (x - min) * scale;
}
