/**
 * @file How the user names a format of weights.
 */
import { InputError } from '../util/errors.ts';
import type { WeightFormat } from '../weights/types.ts';

/** `auto`: float32 for small models, int8 for the others; `f32`: another name of float32. */
export type WeightChoice = WeightFormat | 'auto' | 'f32';
export const WEIGHT_CHOICES: readonly WeightChoice[] = ['auto', 'float32', 'int8', 'int4'];

/** @throws InputError for a format that there is not. */
export function checkWeightChoice(choice: WeightChoice): void {
  if (choice !== 'f32' && !WEIGHT_CHOICES.includes(choice))
    throw new InputError(`there is no weight format "${choice}"; there are ${WEIGHT_CHOICES.join(', ')}`);
}
