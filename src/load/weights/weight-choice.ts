/**
 * @file How the user names a format of weights.
 */
import type { GraphTarget } from '../../ops/target.ts';
import { InputError } from '../../util/errors.ts';
import { GGML_FORMATS } from '../../weights/formats/ggml-formats.ts';
import type { WeightFormat } from '../../weights/types.ts';

/**
 * `auto`: float32 for small models, int8 for the others; `f32`: another name of float32; formats of ggml by their
 * names.
 */
export type WeightChoice = WeightFormat | 'auto' | 'f32';
/** What the option `weights` may be. */
export const WEIGHT_CHOICES: readonly WeightChoice[] = ['auto', 'float32', 'int8', 'int4', ...GGML_FORMATS];

/** @throws InputError for a format that there is not. */
export function checkWeightChoice(choice: WeightChoice): void {
  if (choice !== 'f32' && !WEIGHT_CHOICES.includes(choice))
    throw new InputError(`there is no weight format "${choice}"; there are ${WEIGHT_CHOICES.join(', ')}`);
}

/**
 * What an engine calls a format.
 * @throws InputError for one that it can't hold.
 */
export function heldFormat(format: WeightFormat, target: GraphTarget): WeightFormat {
  const held = target.held(format);
  if (held === null) {
    const names = WEIGHT_CHOICES.filter((name) => name === 'auto' || target.held(name as WeightFormat) !== null);
    throw new InputError(
      `this engine has no products with weights in "${format}"; it has ${names.join(', ')} (the ggml engine has all formats)`,
    );
  }
  return held;
}
