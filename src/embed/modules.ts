/**
 * @file The files of sentence-transformers beside a checkpoint: what comes after the model, and which prompts it was trained with.
 * Reference: sentence_transformers/models (Pooling, Dense, Normalize) and SentenceTransformer.py.
 */
import { readSafetensors } from '../checkpoint/safetensors.ts';
import type { ByteSource, Checkpoint } from '../checkpoint/types.ts';
import { ConfigError } from '../util/errors.ts';
import { product } from '../util/numbers.ts';
import type { DenseLayer, Pooling } from './pooling.ts';

/** What is done with a pooled vector. */
export type EmbedStep = { readonly kind: 'dense'; readonly layer: DenseLayer } | { readonly kind: 'normalize' };

/** How a model's hidden states become embeddings, as its files say. */
export interface EmbedModules {
  /** null: the files do not say. */
  readonly pooling: Pooling | null;
  /** Whether the tokens of a prompt are pooled, too. */
  readonly poolsPrompt: boolean;
  /** null: the files do not say. */
  readonly steps: readonly EmbedStep[] | null;
  /** By name. */
  readonly prompts: Readonly<Record<string, string>>;
  /** The prompt that is put before texts without another; '' is none. */
  readonly defaultPrompt: string;
  /** Tokens of a text at most; null: as many as the model takes. */
  readonly maxLength: number | null;
  /** Texts are written in lower case first. */
  readonly lowerCase: boolean;
}

type Files = Pick<Checkpoint, 'name' | 'readText' | 'readJson' | 'openFile'>;
type Json = Readonly<Record<string, unknown>>;

/**
 * Reads modules.json and what it names, config_sentence_transformers.json and sentence_bert_config.json. All of them may be absent.
 * @throws ConfigError for a module that is not known, or a file that is missing or damaged; CheckpointError.
 */
export async function readEmbedModules(files: Files): Promise<EmbedModules> {
  const settings = (await files.readJson('config_sentence_transformers.json')) ?? {};
  const text = (await files.readJson('sentence_bert_config.json')) ?? {};
  const where = `${files.name}: config_sentence_transformers.json`;
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
    ...(await readModules(files)),
    prompts,
    defaultPrompt: defaultName === null ? '' : prompts[defaultName],
    maxLength,
    lowerCase: text['do_lower_case'] === true,
  };
}

function readPrompts(value: unknown, where: string): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  if (!isObject(value) || !Object.values(value).every((prompt) => typeof prompt === 'string'))
    throw new ConfigError(`${where}: prompts must be an object of texts by name, but is ${show(value)}`);
  return value as Readonly<Record<string, string>>;
}

async function readModules(files: Files): Promise<Pick<EmbedModules, 'pooling' | 'poolsPrompt' | 'steps'>> {
  const modules = await listModules(files);
  if (modules === null) return { pooling: null, poolsPrompt: true, steps: null };
  let pooling: Pooling | null = null;
  let poolsPrompt = true;
  const steps: EmbedStep[] = [];
  for (const [i, { kind, path }] of modules.entries()) {
    const where = `${files.name}: modules.json, module ${i}`;
    if ((kind === 'Transformer') !== (i === 0))
      throw new ConfigError(
        `${where}: the first module, and no other, must be a Transformer; this one is ${show(kind)}`,
      );
    if (kind === 'Transformer') {
      if (path !== '')
        throw new ConfigError(`${where}: the model must be in the folder itself, but is in ${show(path)}`);
      continue;
    }
    if ((kind === 'Pooling') !== (i === 1))
      throw new ConfigError(`${where}: the second module, and no other, must be Pooling; this one is ${show(kind)}`);
    if (kind === 'Pooling') {
      const config = await moduleConfig(files, path);
      pooling = readPooling(config, `${files.name}: ${path}/config.json`);
      poolsPrompt = config['include_prompt'] !== false;
    } else if (kind === 'Dense') steps.push({ kind: 'dense', layer: await readDense(files, path) });
    else if (kind === 'Normalize') steps.push({ kind: 'normalize' });
    else
      throw new ConfigError(
        `${where}: ${show(kind)} modules are not supported; supported are Transformer, Pooling, Dense and Normalize`,
      );
  }
  return { pooling, poolsPrompt, steps };
}

/** The class of each module, without its package, and its folder. */
async function listModules(files: Files): Promise<{ kind: string; path: string }[] | null> {
  const text = await files.readText('modules.json');
  if (text === undefined) return null;
  const where = `${files.name}: modules.json`;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError(`${where} is not valid JSON (${(cause as Error).message})`, { cause });
  }
  if (!Array.isArray(json) || json.length === 0) throw new ConfigError(`${where} must be a list of modules`);
  return json.map((module: unknown, i) => {
    if (!isObject(module) || typeof module['type'] !== 'string' || typeof module['path'] !== 'string')
      throw new ConfigError(`${where}, module ${i}: must have a type and a path, but is ${show(module)}`);
    return { kind: module['type'].split('.').at(-1)!, path: module['path'] };
  });
}

async function moduleConfig(files: Files, path: string): Promise<Json> {
  const config = await files.readJson(`${path}/config.json`);
  if (config === undefined)
    throw new ConfigError(
      `${files.name}: there is no ${path}/config.json, which modules.json names; download it as well`,
    );
  return config;
}

const MODES: Readonly<Record<string, Pooling>> = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_max_tokens: 'max',
  pooling_mode_lasttoken: 'last',
  pooling_mode_weightedmean_tokens: 'weighted-mean',
};

function readPooling(config: Json, where: string): Pooling {
  const on = Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true);
  if (on.length !== 1)
    throw new ConfigError(
      `${where}: one pooling mode must be true, but ${on.length === 0 ? 'none is' : on.join(', ')}`,
    );
  if (!Object.hasOwn(MODES, on[0]))
    throw new ConfigError(`${where}: ${on[0]} is not supported; supported are ${Object.keys(MODES).join(', ')}`);
  return MODES[on[0]];
}

async function readDense(files: Files, path: string): Promise<DenseLayer> {
  const {
    in_features: inputs,
    out_features: outputs,
    bias,
    activation_function: activation,
  } = await moduleConfig(files, path);
  const where = `${files.name}: ${path}`;
  if (!isCount(inputs) || !isCount(outputs))
    throw new ConfigError(
      `${where}/config.json: in_features and out_features must be whole numbers of at least 1, but are ${show(inputs)} and ${show(outputs)}`,
    );
  const name = String(activation ?? 'Tanh')
    .split('.')
    .at(-1)!
    .toLowerCase();
  if (name !== 'identity' && name !== 'tanh')
    throw new ConfigError(
      `${where}/config.json: the activation ${show(activation)} is not supported; supported are Identity and Tanh`,
    );
  const source = await files.openFile?.(`${path}/model.safetensors`);
  if (!source)
    throw new ConfigError(
      `${where}: there is no model.safetensors, which holds the weights of the Dense module; download it as well`,
    );
  try {
    return {
      inputs,
      outputs,
      activation: name,
      weight: await readTensor(source, 'linear.weight', [outputs, inputs]),
      bias: bias === false ? null : await readTensor(source, 'linear.bias', [outputs]),
    };
  } finally {
    await source.close();
  }
}

async function readTensor(source: ByteSource, name: string, shape: readonly number[]): Promise<Float32Array> {
  const tensor = (await readSafetensors(source)).tensors.get(name);
  if (!tensor) throw new ConfigError(`${source.name}: there is no tensor ${name}`);
  if (tensor.shape.join() !== shape.join())
    throw new ConfigError(`${source.name}: ${name} is [${tensor.shape}], but config.json says [${shape}]`);
  return tensor.readFloats(0, product(shape));
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;
const show = (value: unknown): string => (JSON.stringify(value) ?? 'missing').slice(0, 80);
