/**
 * @file A GGUF file as a model of Hugging Face's: config.json and tensors, by the row of its architecture.
 */
import { CheckpointError } from '../../util/errors.ts';
import { show } from '../../util/json/show.ts';
import { product } from '../../util/numbers.ts';
import type { StoredTensor } from '../types.ts';
import type { Architecture, GgufModel, Json } from './architecture.ts';
import { ARCHITECTURES } from './architectures/table.ts';
import type { Metadata } from './metadata.ts';

/** No decoder has more, and a file that says so is wrong. */
const MAX_LAYERS = 1024;
/** More values than any tensor has that a config takes in. */
const MAX_VALUES = 65_536;

/** Files that are no models, by general.type or general.architecture: what they are, and what to do. */
const NO_MODELS: Readonly<Record<string, string>> = {
  adapter: 'is an adapter (LoRA), not a model: name the model that it belongs to, and this file as its adapter',
  mmproj:
    'is the part of a model that sees or hears (mmproj), which is not run. Name the GGUF file of the language model',
  clip: 'is the part of a model that sees or hears (mmproj), which is not run. Name the GGUF file of the language model',
  imatrix: 'holds statistics for a quantization (imatrix), not a model. Name the GGUF file of the model',
  controlvector: 'is a control vector, not a model. Control vectors are not supported; name the GGUF file of the model',
};

/** Tensors of the parts of a model that see or hear, which Ollama's files hold beside those of the language model. */
const OTHER_PARTS = /^(v|a|mm)\./;

export interface HuggingFaceModel {
  readonly config: Json;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/**
 * @param where the file, for messages.
 * @throws CheckpointError for an architecture that is not run, metadata that lack something, and tensors that do not
 * belong to it.
 */
export async function asHuggingFace(
  all: Metadata,
  tensors: ReadonlyMap<string, StoredTensor>,
  where: string,
): Promise<HuggingFaceModel> {
  const name = all.text('general.architecture');
  const other = NO_MODELS[all.textOrNull('general.type') ?? ''] ?? NO_MODELS[name];
  if (other !== undefined) throw new CheckpointError(`${where}: ${other}`);
  if (tensors.size === 0)
    throw new CheckpointError(`${where}: holds no tensors, only metadata; name the GGUF file that has the weights`);
  const architecture = ARCHITECTURES.find(({ names }) => names.includes(name));
  if (!architecture)
    throw new CheckpointError(
      `${where}: GGUF files of the architecture ${show(name)} are not supported; supported are ` +
        `${ARCHITECTURES.flatMap(({ names }) => names).join(', ')}; use the safetensors version of the model`,
    );
  const model = modelOf(all, tensors, name, architecture.hasHeads ?? true);
  const config = await architecture.config(model);
  return {
    config: Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined)),
    tensors: mapTensors(architecture, model, where),
  };
}

function modelOf(
  all: Metadata,
  tensors: ReadonlyMap<string, StoredTensor>,
  architecture: string,
  hasHeads: boolean,
): GgufModel {
  const own = all.below(`${architecture}.`);
  const blocks = own.int('block_count', undefined, 1);
  const nLayer = blocks - own.int('nextn_predict_layers', 0);
  if (nLayer < 1 || blocks > MAX_LAYERS) throw own.fail('block_count', `is ${blocks}; there may be 1 to ${MAX_LAYERS}`);
  const nEmbd = own.int('embedding_length', undefined, 1);
  const first = (key: string, fallback?: number) => own.intsPer(nLayer, key, fallback).find((n) => n > 0) ?? 0;
  const nHead = hasHeads ? first('attention.head_count') : 1;
  if (nHead === 0) throw own.fail('attention.head_count', 'is 0');
  return {
    own,
    all,
    tensors,
    nLayer,
    nHead,
    nQueryGroups: hasHeads ? first('attention.head_count_kv', nHead) : 1,
    headSize: own.int('attention.key_length', Math.floor(nEmbd / nHead), 1),
    nEmbd,
    has: (tensor) => tensors.has(tensor),
    async values(tensor) {
      const found = tensors.get(tensor);
      if (!found) return null;
      const count = product(found.shape);
      if (count > MAX_VALUES)
        throw own.fail('block_count', `belongs to a file whose tensor ${tensor} has ${count} values`);
      return [...(await found.readFloats(0, count))];
    },
  };
}

/** Every tensor under Hugging Face's name. */
function mapTensors(architecture: Architecture, model: GgufModel, where: string): Map<string, StoredTensor> {
  const out = new Map<string, StoredTensor>();
  const left: string[] = [];
  for (const [name, tensor] of model.tensors) {
    if (OTHER_PARTS.test(name) || architecture.ignore?.some((pattern) => pattern.test(name))) continue;
    const made = rename(architecture, model, name, tensor);
    if (made === null) left.push(name);
    for (const piece of made ?? []) {
      if (out.has(piece.name)) throw new CheckpointError(`${where}: two tensors become ${piece.name}; one is ${name}`);
      out.set(piece.name, piece);
    }
  }
  for (const { name, shape, values } of architecture.stated?.(model) ?? []) {
    const readFloats = async (start: number, count: number) => Float32Array.from(values.slice(start, start + count));
    out.set(name, { name, dtype: 'F32', shape, readFloats });
  }
  if (left.length > 0)
    throw new CheckpointError(
      `${where}: ${left.length} tensors do not belong to the architecture ${architecture.names[0]}: ` +
        `${left
          .slice(0, 6)
          .map((name) => JSON.stringify(name))
          .join(', ')}${left.length > 6 ? ', …' : ''}`,
    );
  return out;
}

/** Null for a tensor that the architecture does not have; nothing for one of a layer that only drafts. */
function rename(
  { tensors: rules }: Architecture,
  model: GgufModel,
  name: string,
  tensor: StoredTensor,
): readonly StoredTensor[] | null {
  const [, layer = '', middle, suffix] = /^(?:blk\.(\d+)\.)?(.+?)(\.weight|\.bias|)$/.exec(name) ?? [];
  if (middle === undefined) return null;
  if (layer !== '' && Number(layer) >= model.nLayer) return Number(layer) < MAX_LAYERS ? [] : null;
  const key = (layer === '' ? '' : 'blk.{l}.') + middle;
  const [, module, expert] = /^(.+)\.(\d+)$/.exec(key) ?? [];
  const rule = rules[key] ?? (module === undefined ? undefined : rules[`${module}.{e}`]);
  if (rule === undefined) return null;
  const filled = (to: string) => to.replace('{l}', layer).replace('{e}', expert ?? '') + suffix;
  if (typeof rule === 'string') return [{ ...tensor, name: filled(rule) }];
  if ('each' in rule) return rule.each(tensor, suffix, layer, model);
  return [rule.make(tensor, filled(rule.to), model)];
}
