/**
 * @file The golden cases of the families: their names, and their config.json as older and newer tools write it.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, slotLayers } from '../../src/config/config.ts';
import type { SlotSpec } from '../../src/config/layer-spec.ts';

/** The folder of all cases. */
export const FAMILY_CASES = join(import.meta.dirname, '../fixtures/families');
/** Cases of what transformers 4 alone can't make golden values of, or what is more than one model. */
export const MORE_CASES = join(import.meta.dirname, '../fixtures/more-families');
const NEW_CONFIGS = join(import.meta.dirname, '../fixtures/configs-v5');

/** Every case, in alphabetical order. */
export const CASES: readonly string[] = readdirSync(FAMILY_CASES).sort();

/** A config.json that a test may change. */
export type ConfigJson = Record<string, unknown>;

/** The folder of a case. */
export const caseFolder = (name: string): string =>
  [FAMILY_CASES, MORE_CASES].map((root) => join(root, name)).find(existsSync) ?? join(FAMILY_CASES, name);

/** A case's config.json, with the keys of transformers 4. */
export const configJson = (name: string): ConfigJson => parsed(join(caseFolder(name), 'config.json'));

/** The same model's config.json with the keys of transformers 5. */
export const newConfigJson = (name: string): ConfigJson => parsed(join(NEW_CONFIGS, `${name}.json`));

function parsed(path: string): ConfigJson {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** What the first layer that keeps keys and values keeps of a token. @throws where none does. */
export function firstSlots(config: Config): SlotSpec {
  const [first] = slotLayers(config);
  if (!first) throw new Error('no layer keeps keys and values');
  return first.slots;
}

/** YaRN of DeepSeek V3, with the same factor for the rotation and for queries and keys. */
export const ONE_FACTOR = {
  beta_fast: 32,
  beta_slow: 1,
  factor: 4,
  mscale: 0.7,
  mscale_all_dim: 0.7,
  original_max_position_embeddings: 32,
  rope_theta: 10_000,
  rope_type: 'yarn',
};
