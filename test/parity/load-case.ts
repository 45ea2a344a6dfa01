/**
 * @file Loads the checkpoint of a case with the function that is for its kind of model.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isEncoder } from '../../src/config/config.ts';
import { readConfig } from '../../src/families/read-config.ts';
import { type EncoderModel, type LanguageModel, type LoadOptions, loadEncoder, loadModel } from '../../src/node.ts';
import { ConfigError } from '../../src/util/errors.ts';
import { parseJsonObject } from '../../src/util/json/json.ts';

export async function loadCase(
  path: string,
  options: Omit<LoadOptions, 'generationConfig'>,
): Promise<LanguageModel | EncoderModel> {
  const json = parseJsonObject(await readFile(join(path, 'config.json'), 'utf8'), path, ConfigError);
  const { config } = readConfig(json, path, options.part ?? null);
  return isEncoder(config) ? loadEncoder(path, options) : loadModel(path, options);
}
