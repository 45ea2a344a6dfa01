/**
 * @file The files of sentence-transformers beside a checkpoint: what comes after the model, and which prompts it was
 * trained with. Reference: sentence_transformers/models (Pooling, Dense, Normalize) and SentenceTransformer.py.
 */
import { TRANSFORMER_FOLDER } from '../checkpoint/model-files.ts';
import { ConfigError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { parseJson } from '../util/json/json.ts';
import { show } from '../util/json/show.ts';
import { isCount, type ModuleSource, moduleConfig, readDense, readLayerNorm, readPooling } from './module-files.ts';
import type { DenseLayer, LayerNormStep, Pooling } from './pooling.ts';

/** What is done with a pooled vector. */
export type EmbedStep =
  | { readonly kind: 'dense'; readonly layer: DenseLayer }
  | { readonly kind: 'layer-norm'; readonly norm: LayerNormStep }
  | { readonly kind: 'normalize' };

/** How a model's vectors are compared; of the last two, the negative distance. */
export type SimilarityName = 'cosine' | 'dot' | 'euclidean' | 'manhattan';

/** How texts are read, as the files of sentence-transformers say. */
export interface TextSettings {
  /** By name. */
  readonly prompts: Readonly<Record<string, string>>;
  /** The prompt that is put before texts without another; '' is none. */
  readonly defaultPrompt: string;
  /** Tokens of a text at most; null: as many as the model takes. */
  readonly maxLength: number | null;
  /** Texts are written in lower case first. */
  readonly lowerCase: boolean;
}

/** How a model's hidden states become embeddings, as its files say. */
export interface EmbedModules extends TextSettings {
  /** null: the files do not say. */
  readonly pooling: Pooling | readonly Pooling[] | null;
  /** Whether the tokens of a prompt are pooled, too. */
  readonly poolsPrompt: boolean;
  /** null: the files do not say. */
  readonly steps: readonly EmbedStep[] | null;
  readonly similarity: SimilarityName;
}

/**
 * Reads modules.json and what it names, config_sentence_transformers.json and sentence_bert_config.json. All of them
 * may be absent.
 * @throws ConfigError for a module that is not known, or a file that is missing or damaged; CheckpointError.
 */
export async function readEmbedModules(files: ModuleSource): Promise<EmbedModules> {
  const settings = (await files.readJson(SETTINGS)) ?? {};
  const similarity = settings['similarity_fn_name'] ?? 'cosine';
  if (typeof similarity !== 'string' || !Object.hasOwn(SIMILARITIES, similarity))
    throw new ConfigError(
      `${files.name}: ${SETTINGS}: similarity_fn_name is ${show(similarity)}; known are ${Object.keys(SIMILARITIES).join(', ')}`,
    );
  const text = await readTextSettings(files);
  return { ...(await readModules(files)), ...text, similarity: SIMILARITIES[similarity] };
}

const SETTINGS = 'config_sentence_transformers.json';

/**
 * How texts are read, for models that embed and for those that rank.
 * @throws ConfigError for a file that is damaged; CheckpointError.
 */
export async function readTextSettings(files: ModuleSource): Promise<TextSettings> {
  const settings = (await files.readJson(SETTINGS)) ?? {};
  const text = (await files.readJson('sentence_bert_config.json')) ?? {};
  const where = `${files.name}: ${SETTINGS}`;
  const prompts = readPrompts(settings['prompts'], where);
  const defaultName = settings['default_prompt_name'] ?? null;
  if (defaultName !== null && (typeof defaultName !== 'string' || !Object.hasOwn(prompts, defaultName)))
    throw new ConfigError(`${where}: default_prompt_name is ${show(defaultName)}, which is not one of its prompts`);
  const maxLength = text['max_seq_length'] ?? null;
  if (maxLength !== null && !isCount(maxLength))
    throw new ConfigError(
      `${files.name}: sentence_bert_config.json: max_seq_length must be a whole number of at least 1, but is ${show(maxLength)}`,
    );
  return {
    prompts,
    defaultPrompt: defaultName === null ? '' : prompts[defaultName],
    maxLength: maxLength ?? (await lengthOfTokenizer(files)),
    lowerCase: text['do_lower_case'] === true,
  };
}

/**
 * The ids of the tokens whose logits a reranker's LogitScore module compares; null where modules.json names no such
 * module.
 * @throws ConfigError for a file that is missing or damaged.
 */
export async function readLogitScore(files: ModuleSource): Promise<{ yes: number; no: number | null } | null> {
  const module = (await listModules(files))?.find(({ kind }) => kind === 'LogitScore');
  if (!module) return null;
  const { true_token_id: yes, false_token_id: no = null } = await moduleConfig(files, module.path);
  const isId = (id: unknown): id is number => id === 0 || isCount(id);
  if (!isId(yes) || !(no === null || isId(no)))
    throw new ConfigError(
      `${files.name}: ${module.path}/config.json: true_token_id and false_token_id must be token ids, but are ${show(yes)} and ${show(no)}`,
    );
  return { yes, no };
}

const SIMILARITIES: Readonly<Record<string, SimilarityName>> = {
  cosine: 'cosine',
  dot: 'dot',
  dot_product: 'dot',
  euclidean: 'euclidean',
  manhattan: 'manhattan',
};

/** Version 6 keeps the largest length there, if any. A number of 30 digits stands for none. */
async function lengthOfTokenizer(files: ModuleSource): Promise<number | null> {
  const length = (await files.readJson('tokenizer_config.json'))?.['model_max_length'];
  return isCount(length) ? length : null;
}

function readPrompts(value: unknown, where: string): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  if (!isObject(value) || !Object.values(value).every((prompt) => typeof prompt === 'string'))
    throw new ConfigError(`${where}: prompts must be an object of texts by name, but is ${show(value)}`);
  return value as Readonly<Record<string, string>>;
}

async function readModules(files: ModuleSource): Promise<Pick<EmbedModules, 'pooling' | 'poolsPrompt' | 'steps'>> {
  const modules = await listModules(files);
  if (modules === null) return { pooling: null, poolsPrompt: true, steps: null };
  let pooling: EmbedModules['pooling'] = null;
  let poolsPrompt = true;
  const steps: EmbedStep[] = [];
  for (const [i, { kind, path }] of modules.entries()) {
    const where = `${files.name}: modules.json, module ${i}`;
    if ((kind === 'Transformer') !== (i === 0))
      throw new ConfigError(
        `${where}: the first module, and no other, must be a Transformer; this one is ${show(kind)}`,
      );
    if (kind === 'Transformer') {
      if (path !== '' && path !== TRANSFORMER_FOLDER)
        throw new ConfigError(
          `${where}: the model must be in the folder itself or in ${TRANSFORMER_FOLDER}, but is in ${show(path)}`,
        );
      continue;
    }
    if ((kind === 'Pooling') !== (i === 1))
      throw new ConfigError(`${where}: the second module, and no other, must be Pooling; this one is ${show(kind)}`);
    if (kind === 'Pooling') {
      const config = await moduleConfig(files, path);
      pooling = readPooling(config, `${files.name}: ${path}/config.json`);
      poolsPrompt = config['include_prompt'] !== false;
    } else if (kind === 'Dense') steps.push({ kind: 'dense', layer: await readDense(files, path) });
    else if (kind === 'LayerNorm') steps.push({ kind: 'layer-norm', norm: await readLayerNorm(files, path) });
    else if (kind === 'Normalize') steps.push({ kind: 'normalize' });
    else if (kind === 'Dropout')
      continue; // of training
    else
      throw new ConfigError(
        `${where}: ${show(kind)} modules are not supported; supported are Transformer, Pooling, Dense, LayerNorm and Normalize`,
      );
  }
  return { pooling, poolsPrompt, steps };
}

/** The class of each module, without its package, and its folder. */
async function listModules(files: ModuleSource): Promise<{ kind: string; path: string }[] | null> {
  const text = await files.readText('modules.json');
  if (text === undefined) return null;
  const where = `${files.name}: modules.json`;
  const json = parseJson(text, where, ConfigError);
  if (!Array.isArray(json) || json.length === 0) throw new ConfigError(`${where} must be a list of modules`);
  return json.map((module: unknown, i) => {
    if (!isObject(module) || typeof module['type'] !== 'string' || typeof module['path'] !== 'string')
      throw new ConfigError(`${where}, module ${i}: must have a type and a path, but is ${show(module)}`);
    return { kind: module['type'].split('.').at(-1)!, path: module['path'] };
  });
}
