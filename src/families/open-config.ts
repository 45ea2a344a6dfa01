/**
 * @file Reads config.json without loading the data of all families: those of the most models are there, the others come
 * when they are needed. A page that runs a Llama does without 20 kB.
 */
import { ConfigReader, checkIsObject } from '../config/reader.ts';
import { llama } from './brands/llama.ts';
import { mistral } from './brands/mistral.ts';
import { qwen2, qwen3 } from './brands/qwen.ts';
import type { Family } from './family.ts';
import { configOf } from './layers.ts';
import { type ReadConfig, readAs } from './read-as.ts';

/** Families that hold no other models. */
export const COMMON_FAMILIES: readonly Family[] = [llama, mistral, qwen2, qwen3];

/** As `readConfig`. @throws ConfigError */
export async function openConfig(
  json: Record<string, unknown>,
  where: string,
  part: string | null = null,
): Promise<ReadConfig> {
  checkIsObject(json, where);
  const modelType = json.model_type;
  const common = COMMON_FAMILIES.find(({ modelTypes }) => modelTypes.includes(modelType as string));
  if (!common || part !== null) return (await import('./read-config.ts')).readConfig(json, where, part);
  const { said, family } = readAs(common, new ConfigReader(json, where), { where, name: String(modelType) });
  return { config: configOf(said), family };
}
