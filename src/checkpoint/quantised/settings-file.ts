/**
 * @file Settings of quantising that older tools wrote beside config.json. Apart from the readers, as `is-quantised.ts` is.
 */
import { isObject } from '../../util/is-object.ts';
import type { Checkpoint } from '../types.ts';

/** Files, the method that they are of, and the tensor that makes them worth looking for. */
export const SETTINGS_FILES = [
  { file: 'quantize_config.json', method: 'gptq', mark: '.qweight' },
  { file: 'quant_config.json', method: 'awq', mark: '.qweight' },
  { file: 'hf_quant_config.json', method: 'modelopt', mark: '.weight_scale' },
] as const;

/** The checkpoint with the settings of such a file in its config, where its own has none. */
export async function withSettingsFile(checkpoint: Checkpoint): Promise<Checkpoint> {
  const names = [...checkpoint.tensors.keys()];
  for (const { file, method, mark } of SETTINGS_FILES) {
    const json = names.some((name) => name.endsWith(mark)) ? await checkpoint.readJson(file) : undefined;
    if (!json) continue;
    const settings = isObject(json.quantization) ? json.quantization : json;
    return {
      ...checkpoint,
      config: { ...checkpoint.config, quantization_config: { quant_method: method, ...settings } },
    };
  }
  return checkpoint;
}
