/**
 * @file Which matrices of a checkpoint stay as they are stored.
 */
import type { BlockRows } from '../../checkpoint/types.ts';
import type { WeightCodec } from '../../weights/codec.ts';
import type { ParamSpec, WeightFormat } from '../../weights/types.ts';
import type { WeightChoice } from './weight-choice.ts';

/** Formats of one value a block. */
const FLOATS: ReadonlySet<string> = new Set(['f32', 'f16', 'bf16']);

/**
 * Whether a matrix stays as the checkpoint has it: where that is the format that is wanted; and without a wish, what is
 * quantized already, if products with it are as exact as those of the format that `auto` stands for.
 */
export function keptFormats(wish: WeightChoice = 'auto', whole: WeightFormat, codec: WeightCodec) {
  return (stored: BlockRows['format'], { format }: ParamSpec): boolean => {
    if (stored === format || (stored === 'f32' && format === 'float32')) return true;
    if (wish !== 'auto' || FLOATS.has(stored)) return false;
    return whole === 'int8' || (whole === 'f16' && codec.refines?.(stored) === true);
  };
}
