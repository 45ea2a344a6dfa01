/**
 * @file The files of single modules of sentence-transformers: Pooling, Dense, LayerNorm. Reference:
 * sentence_transformers' modules of these names, version 6.2.
 */
import { readSafetensors } from '../checkpoint/safetensors.ts';
import type { ByteSource, Checkpoint } from '../checkpoint/types.ts';
import { ConfigError } from '../util/errors.ts';
import { show } from '../util/json/show.ts';
import { product } from '../util/numbers.ts';
import type { DenseLayer, LayerNormStep, Pooling } from './pooling.ts';

export type ModuleSource = Pick<Checkpoint, 'name' | 'readText' | 'readJson' | 'openFile'>;
export type Json = Readonly<Record<string, unknown>>;

/** @throws ConfigError where there is none. */
export async function moduleConfig(files: ModuleSource, path: string): Promise<Json> {
  const config = await files.readJson(`${path}/config.json`);
  if (config === undefined)
    throw new ConfigError(
      `${files.name}: there is no ${path}/config.json, which modules.json names; download it as well`,
    );
  return config;
}

const MODES: Readonly<Record<string, Pooling>> = {
  cls: 'cls',
  max: 'max',
  mean: 'mean',
  mean_sqrt_len_tokens: 'mean-sqrt',
  weightedmean: 'weighted-mean',
  lasttoken: 'last',
};
/** What sentence-transformers wrote before version 5.3, in the order in which it puts the vectors of several. */
const OLD_MODES: Readonly<Record<string, string>> = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_mean_sqrt_len_tokens: 'mean_sqrt_len_tokens',
  pooling_mode_weightedmean_tokens: 'weightedmean',
  pooling_mode_lasttoken: 'lasttoken',
};

/** One pooling, or several whose vectors stand one behind the other; the mean where the file names none. */
export function readPooling(config: Json, where: string): Pooling | readonly Pooling[] {
  const unknown = Object.keys(config).find(
    (key) => key.startsWith('pooling_mode_') && config[key] === true && !Object.hasOwn(OLD_MODES, key),
  );
  if (unknown)
    throw new ConfigError(`${where}: ${unknown} is not supported; supported are ${Object.keys(OLD_MODES).join(', ')}`);
  const old = Object.keys(OLD_MODES).filter((key) => config[key] === true);
  const stated = config['pooling_mode'] ?? old.map((key) => OLD_MODES[key]);
  const names: readonly unknown[] = Array.isArray(stated) ? stated : [stated];
  const modes = names.map((name) => {
    if (typeof name !== 'string' || !Object.hasOwn(MODES, name))
      throw new ConfigError(
        `${where}: pooling_mode ${show(name)} is not supported; supported are ${Object.keys(MODES).join(', ')}`,
      );
    return MODES[name];
  });
  if (modes.length === 0) return 'mean';
  return modes.length === 1 ? modes[0] : modes;
}

/** By the name of PyTorch's class, in lower case. */
const ACTIVATIONS: Readonly<Record<string, DenseLayer['activation']>> = {
  identity: 'identity',
  tanh: 'tanh',
  relu: 'relu',
  gelu: 'gelu',
  silu: 'silu',
  sigmoid: 'sigmoid',
};

export async function readDense(files: ModuleSource, path: string): Promise<DenseLayer> {
  const {
    in_features: inputs,
    out_features: outputs,
    bias,
    activation_function: activation,
    module_input_name: input = 'sentence_embedding',
    use_residual: residual = false,
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
  const known: DenseLayer['activation'] | undefined = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (!known)
    throw new ConfigError(
      `${where}/config.json: the activation ${show(activation)} is not supported; supported are Identity, Tanh, ReLU, GELU, SiLU and Sigmoid`,
    );
  if (input !== 'sentence_embedding')
    throw new ConfigError(
      `${where}/config.json: module_input_name is ${show(input)}: only sentence_embedding is supported`,
    );
  return withWeights(files, path, async (source) => {
    const layer = {
      inputs,
      outputs,
      activation: known,
      weight: await readTensor(source, 'linear.weight', [outputs, inputs]),
      bias: bias === false ? null : await readTensor(source, 'linear.bias', [outputs]),
    };
    if (residual !== true) return layer;
    const added = inputs === outputs ? 'input' : await readTensor(source, 'residual.weight', [outputs, inputs]);
    return { ...layer, residual: added };
  });
}

/** Of PyTorch, whose epsilon no file states. */
export async function readLayerNorm(files: ModuleSource, path: string): Promise<LayerNormStep> {
  const { dimension } = await moduleConfig(files, path);
  if (!isCount(dimension))
    throw new ConfigError(`${files.name}: ${path}/config.json: dimension must be a whole number of at least 1`);
  return withWeights(files, path, async (source) => ({
    weight: await readTensor(source, 'norm.weight', [dimension]),
    bias: await readTensor(source, 'norm.bias', [dimension]),
    eps: 1e-5,
  }));
}

async function withWeights<T>(files: ModuleSource, path: string, read: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await files.openFile?.(`${path}/model.safetensors`);
  if (!source)
    throw new ConfigError(
      `${files.name}: ${path}: there is no model.safetensors, which holds the module's weights; download it as well, or save the ` +
        'model again with sentence-transformers 3 or newer if its weights are in pytorch_model.bin',
    );
  try {
    return await read(source);
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

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;
