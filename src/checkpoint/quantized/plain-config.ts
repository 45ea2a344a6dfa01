/**
 * @file config.json without what it says of quantizing.
 */
import { isObject } from '../../util/json/is-object.ts';

const KEYS = ['quantization_config', 'compression_config', 'quantization'];

/** The config of the model that the weights stand for. */
export function plainConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const without = (json: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(json).filter(([key]) => !KEYS.includes(key)));
  const plain = without(config);
  if (isObject(plain.text_config)) plain.text_config = without(plain.text_config);
  return plain;
}
