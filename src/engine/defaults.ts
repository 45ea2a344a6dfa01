/**
 * @file What a checkpoint's own generation_config.json asks for.
 */
import { checkArgument } from '../util/arguments.ts';
import { isObject } from '../util/json/is-object.ts';
import type { SamplingOptions } from './sampling/sampler.ts';

/** The options that a checkpoint may state. */
export interface GenerationDefaults
  extends Pick<SamplingOptions, 'temperature' | 'topK' | 'topP' | 'minP' | 'repetitionPenalty'> {
  readonly eosTokenIds?: readonly number[];
}

/**
 * Reads a generation_config.json as options of `generate`, which count where none is given.
 *
 * `do_sample` decides: without it the model wants greedy decoding, whatever else the file says. Values that are out of
 * range or not numbers are left out, as files in the wild have many of them (`top_k: -1` stands for "off").
 *
 * @param json the parsed file, e.g. `model.generationConfig`.
 * @throws InputError for what is no object.
 */
export function generationDefaults(json: Readonly<Record<string, unknown>>): GenerationDefaults {
  checkArgument('generationDefaults', 'the parsed content of generation_config.json', json, isObject(json));
  const number = (key: string, fits: (value: number) => boolean): number | undefined => {
    const value = json[key];
    return typeof value === 'number' && Number.isFinite(value) && fits(value) ? value : undefined;
  };
  const sampling =
    json['do_sample'] === true
      ? {
          temperature: number('temperature', (v) => v >= 0) ?? 1,
          topK: number('top_k', (v) => Number.isInteger(v) && v > 0),
          topP: number('top_p', (v) => v > 0 && v < 1),
          minP: number('min_p', (v) => v > 0 && v <= 1),
        }
      : {};
  const repetitionPenalty = number('repetition_penalty', (v) => v > 0 && v !== 1);
  return dropUnset({ ...sampling, repetitionPenalty, eosTokenIds: tokenIds(json['eos_token_id']) });
}

function tokenIds(value: unknown): number[] | undefined {
  const ids = (Array.isArray(value) ? value : [value]).filter((id) => Number.isSafeInteger(id) && id >= 0);
  return ids.length > 0 ? ids : undefined;
}

/** Without keys that hold undefined, which would cover up values that they are spread over. */
function dropUnset<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** A request's own options, and those of the checkpoint where it has none. */
export function withDefaults<T extends GenerationDefaults & { readonly generationConfig?: boolean }>(
  request: T,
  defaults: GenerationDefaults,
): T {
  return request.generationConfig === false ? request : { ...defaults, ...dropUnset(request) };
}
