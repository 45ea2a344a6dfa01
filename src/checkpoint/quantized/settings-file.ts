/**
 * @file Settings of quantizing that older tools wrote beside config.json.
 */
import { isObject } from '../../util/json/is-object.ts';
import { QUANT_FILES } from '../model-files.ts';
import type { Checkpoint } from '../types.ts';

/** The checkpoint with the settings of such a file in its config, where there is one. */
export async function withSettingsFile(checkpoint: Checkpoint): Promise<Checkpoint> {
  for (const [file, method] of Object.entries(QUANT_FILES)) {
    const json = await checkpoint.readJson(file);
    if (!json) continue;
    const settings = isObject(json.quantization) ? json.quantization : json;
    return {
      ...checkpoint,
      config: { ...checkpoint.config, quantization_config: { quant_method: method, ...settings } },
    };
  }
  return checkpoint;
}
