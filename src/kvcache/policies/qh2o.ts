/**
 * @file `qh2o`: heavy hitters that quantization left whole.
 */
import { InputError } from '../../util/errors.ts';
import { buffersOf } from '../buffers.ts';
import { definePolicy } from '../policy/define-policy.ts';
import { fillMeans } from '../policy/select.ts';
import { distance, Scratch } from '../policy/vectors.ts';
import { type H2OOptions, heavyHitters, NORMALIZE } from './h2o.ts';

export interface QuantizedH2OOptions extends H2OOptions {
  /** c: how much the attention counts against the error, from 0 to 1. @default 0.5 */
  readonly c?: number;
}

/**
 * H2O for quantized slots (awslabs/keys_values' qh2o): c·N(S) − (1 − c)·N(e), where e_j = ‖k − k̂‖ + ‖v − v̂‖ is what a
 * slot lost when it was stored, and N scales to [0, 1] within the group (a constant is 0). With c = 1 it is h2o.
 */
export const quantizedH2O = definePolicy<QuantizedH2OOptions>({
  name: 'qh2o',
  summary: 'h2o, less what quantization lost',
  options: { ...NORMALIZE, c: 'how much the attention counts against the error, from 0 to 1' },
  setup: ({ options: { normalize, c = 0.5 }, buffer }) => {
    const { keys, values } = buffersOf(buffer);
    if (keys === 'float32' && values === 'float32')
      throw new InputError(
        'qh2o weighs the error of quantized slots: choose a buffer such as int8 or int4, or the policy h2o',
      );
    if (!(c >= 0 && c <= 1)) throw new InputError(`c must be from 0 to 1, but is ${c}`);
    const rules = heavyHitters(normalize);
    const scratch = new Scratch();
    return {
      ...rules,
      slotState: 2,
      reads: true,
      score: (group, layer) => {
        rules.score!(group, layer);
        const errors = group.slotState[1];
        const [exactKey, key] = [scratch.vector(layer.keySize), scratch.vector(layer.keySize, 1)];
        const [exactValue, value] = [scratch.vector(layer.valueSize, 2), scratch.vector(layer.valueSize, 3)];
        for (let j = group.held; j < group.length; j++) {
          group.readExactKey(j, exactKey);
          group.readKey(j, key);
          group.readExactValue(j, exactValue);
          group.readValue(j, value);
          errors[j] = distance(exactKey, key) + distance(exactValue, value);
        }
        return undefined;
      },
      rank: (group, layer) => {
        fillMeans(group, layer.lastPosition, group.scores, rules.countedQueries!(layer));
        const { values: ranks, slotState, length } = group;
        const errors = slotState[1];
        const attention = scaling(ranks, length);
        const error = scaling(errors, length);
        for (let j = 0; j < length; j++) ranks[j] = c * attention(ranks[j]) - (1 - c) * error(errors[j]);
      },
    };
  },
});

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
