/**
 * @file What a GGUF file recommends for sampling (`general.sampling.*`), as the generation_config.json of other
 * checkpoints.
 */
import type { Metadata } from './metadata.ts';

/** Keys of generation_config.json by those of GGUF. */
const KEYS = {
  temp: 'temperature',
  top_k: 'top_k',
  top_p: 'top_p',
  min_p: 'min_p',
  penalty_repeat: 'repetition_penalty',
} as const;

/** Undefined where the file recommends nothing. */
export function samplingDefaults(metadata: Metadata): Record<string, unknown> | undefined {
  const own = metadata.below('general.sampling.');
  const stated = Object.entries(KEYS).flatMap(([key, name]) => (own.has(key) ? [[name, own.float(key)] as const] : []));
  if (stated.length === 0) return undefined;
  return { do_sample: own.floatOrNull('temp') !== 0, ...Object.fromEntries(stated) };
}
