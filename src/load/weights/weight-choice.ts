/**
 * @file How the user names a format of weights.
 */
import type { GraphTarget } from '../../ops/target.ts';
import { InputError } from '../../util/errors.ts';
import { closestName } from '../../util/option-names.ts';
import { GGML_FORMATS } from '../../weights/formats/ggml-formats.ts';
import type { WeightFormat } from '../../weights/types.ts';

/**
 * `auto`: float32 for small models, int8 for the others; `f32`: another name of float32; formats of ggml by their
 * names.
 */
export type WeightChoice = WeightFormat | 'auto' | 'f32';
/** What the option `weights` may be. */
export const WEIGHT_CHOICES: readonly WeightChoice[] = ['auto', 'float32', 'int8', 'int4', ...GGML_FORMATS];

/** What other libraries call formats. */
const OTHER_NAMES: Readonly<Record<string, WeightChoice>> = {
  fp32: 'float32',
  fp16: 'f16',
  float16: 'f16',
  bfloat16: 'bf16',
  q8: 'int8',
  uint8: 'int8',
  q4: 'int4',
  q4f16: 'int4',
};

/** @throws InputError for a format that there is not. */
export function checkWeightChoice(choice: WeightChoice): void {
  if (choice === 'f32' || WEIGHT_CHOICES.includes(choice)) return;
  // Files of llama.cpp are named by mixtures, such as Q4_K_M, whose last letter is no part of a format.
  const lower = choice.toLowerCase().replace(/_[sml]$/, '');
  const near = OTHER_NAMES[lower] ?? closestName(lower, WEIGHT_CHOICES);
  const hint = near === undefined ? 'there are' : `did you mean ${near}? There are`;
  throw new InputError(`there is no weight format "${choice}"; ${hint} ${WEIGHT_CHOICES.join(', ')}`);
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
      `this engine can't compute with weights in "${format}", only in ${names.join(', ')}; the ggml engine has all formats`,
    );
  }
  return held;
}
