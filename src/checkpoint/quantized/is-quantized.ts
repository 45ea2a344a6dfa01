/**
 * @file Whether a config.json says that its weights are quantized. Apart from the readers, which pages of other
 * checkpoints do without.
 */
import { isObject } from '../../util/json/is-object.ts';

export interface StatedSettings {
  /** Of the usual name. */
  readonly usual: unknown;
  /** MLX has settings of its own, and repeats them under the usual name without a method. */
  readonly own: unknown;
}

export function statedSettings(config: Readonly<Record<string, unknown>>): StatedSettings {
  const inner = isObject(config.text_config) ? config.text_config : {};
  return {
    usual: config.quantization_config ?? config.compression_config ?? inner.quantization_config,
    own: config.quantization,
  };
}

export function isQuantized(config: Readonly<Record<string, unknown>>): boolean {
  const { usual, own } = statedSettings(config);
  return isObject(usual) || isObject(own);
}
