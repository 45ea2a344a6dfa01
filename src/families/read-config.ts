/**
 * @file From a parsed config.json to a checked {@link Config} and the family it belongs to, among all families.
 */
import { ConfigReader, checkIsObject } from '../config/reader.ts';
import { show } from '../util/json/show.ts';
import { closestNames } from '../util/option-names.ts';
import { configOf } from './layers.ts';
import { type ReadConfig, type ReadFamilyConfig, readAs } from './read-as.ts';
import { FAMILIES } from './table.ts';
import { unwrap, WRAPPER_TYPES } from './wrappers.ts';

const ALL_FAMILIES = 'docs/families.md of the package lists all that are';

/**
 * Reads config.json.
 * @param json the parsed file.
 * @param where the file's name, for messages.
 * @param part which model is meant, where the file is of several; null: the one that writes text, or the first.
 * @throws ConfigError names the key that is missing, wrong, unknown or not supported.
 */
export function readConfig(json: Record<string, unknown>, where?: string, part?: string | null): ReadConfig {
  const { said, family } = readFamilyConfig(json, where, part);
  return { config: configOf(said), family };
}

/** As {@link readConfig}, but what the family says, before its layers have records of their own. */
export function readFamilyConfig(
  json: Record<string, unknown>,
  where = 'config.json',
  part: string | null = null,
): ReadFamilyConfig {
  checkIsObject(json, where);
  const unwrapped = unwrap(json, where, part);
  const r = new ConfigReader(unwrapped.json, where + unwrapped.path);
  const modelType = r.string('model_type');
  const known = FAMILIES.find((f) => f.modelTypes.includes(modelType));
  if (!known) {
    const types = [...new Set([...FAMILIES.flatMap((f) => f.modelTypes), ...WRAPPER_TYPES])];
    const near = closestNames(modelType, types, 3);
    const hint = near.length > 0 ? `; the nearest are ${near.join(', ')}` : '';
    return r.fail('model_type', `is ${show(modelType)}, which is not a known family${hint}; ${ALL_FAMILIES}`);
  }
  const { moves, ignore = [] } = unwrapped.own;
  const family = { ...known, moves, ignore: [...(known.ignore ?? []), ...ignore] };
  return readAs(family, r, { where, name: String(json.model_type), skip: unwrapped.skip });
}
