/**
 * @file Checkpoints that hold several models, each with its part of the config: a decoder beside a vision tower, two
 * encoders.
 */
import { ConfigError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { show } from '../util/json/show.ts';
import type { Family } from './family.ts';
import { NESTED_DEFAULTS } from './nested-defaults.ts';
import { REFUSED_TYPES } from './refused-types.ts';

/** One model of several. */
export interface WrappedPart {
  /** Key of its config; null: the whole config is its own. */
  readonly config: string | null;
  /** Read the whole config where the key is absent, as older files have it. */
  readonly orWhole?: boolean;
  /** Where its tensors lie: a name that begins with the first may be found under the second in its place. */
  readonly moves: readonly (readonly [from: string, to: string])[];
}

export interface Wrapper {
  readonly modelTypes: readonly string[];
  /** By name; the first is taken unless the caller names another. */
  readonly parts: Readonly<Record<string, WrappedPart>>;
  /** Keys of the whole config that speak of what is not read, where a part reads the whole. */
  readonly skip?: readonly string[];
  /** Tensors of what is not read. */
  readonly rest?: RegExp;
}

/** A language model in a larger one, as old and as new versions of transformers name it. */
const TEXT: WrappedPart = {
  config: 'text_config',
  moves: [
    ['', 'language_model.'],
    ['model.', 'model.language_model.'],
    ['model.', 'language_model.'],
  ],
};
const VISION: WrappedPart = {
  config: 'vision_config',
  moves: [
    ['', 'vision_tower.'],
    ['', 'model.vision_tower.'],
  ],
};
const PROJECTOR =
  /^(model\.)?(multi_modal_projector\.|image_newline$|vision_(tower|resampler|encoder|projection)\.|visual_embeddings_table\.|merger\.)/;

export const WRAPPERS: readonly Wrapper[] = [
  {
    modelTypes: [
      ...[
        'llava',
        'llava_next',
        'llava_next_video',
        'llava_onevision',
        'vipllava',
        'mistral3',
        'aya_vision',
        'internvl',
      ],
      ...['gemma3', 'aria', 'cohere2_vision', 'got_ocr2', 'lfm2_vl', 'lighton_ocr', 'ovis2', 'minicpmv4_6'],
    ],
    parts: { text: TEXT, vision: VISION },
    rest: PROJECTOR,
  },
  {
    modelTypes: ['glm4v', 'glm4v_moe', 'glm46v', 'exaone4_5'],
    parts: { text: TEXT },
    rest: /^(model\.)?visual\./,
  },
  {
    modelTypes: ['deepseek_vl', 'video_llama_3', 'qianfan_ocr', 'janus'],
    parts: { text: TEXT },
    // Besides: what draws pictures.
    rest: /^(model\.)?(vision_model|aligner|projector|mlp1|vqmodel|generation_(aligner|embeddings|head))\./,
  },
  {
    modelTypes: ['voxtral', 'qwen2_audio', 'granite_speech'],
    parts: { text: TEXT },
    rest: /^(model\.)?(audio_tower|multi_modal_projector|encoder|projector)\./,
  },
  {
    modelTypes: ['video_llava'],
    parts: { text: TEXT },
    rest: /^(model\.)?(multi_modal_projector|video_tower|image_tower)\./,
  },
  {
    modelTypes: ['llama4'],
    parts: { text: TEXT },
    rest: /^(model\.)?(vision_model|multi_modal_projector)\./,
  },
  { modelTypes: ['mllama'], parts: { text: TEXT }, rest: /^(model\.)?(vision_model|multi_modal_projector)\./ },
  {
    modelTypes: ['idefics2', 'idefics3', 'smolvlm'],
    parts: { text: { config: 'text_config', moves: [['model.', 'model.text_model.']] } },
    rest: /^model\.(vision_model|connector)\./,
  },
  {
    modelTypes: ['qwen2_vl', 'qwen2_5_vl', 'qwen3_vl', 'qwen3_vl_moe', 'qwen3_5', 'qwen3_5_moe'],
    parts: { text: { ...TEXT, orWhole: true } },
    skip: [
      'vision_config',
      'image_token_id',
      'video_token_id',
      'vision_token_id',
      'vision_start_token_id',
      'vision_end_token_id',
    ],
    rest: /^(model\.)?visual\./,
  },
  {
    modelTypes: ['gemma3n', 'gemma4', 'gemma4_unified'],
    parts: { text: TEXT },
    // Besides: ranges that training with quantization keeps.
    rest: /^(model\.)?(vision_tower|vision_embedder|audio_tower|embed_vision|embed_audio)\.|\.(input|output)_(min|max)$/,
  },
  {
    modelTypes: ['mimi'],
    parts: {
      encoder: { config: null, moves: [['', 'encoder_transformer.']] },
      decoder: { config: null, moves: [['', 'decoder_transformer.']] },
    },
    rest: /^(encoder|decoder|quantizer|downsample|upsample)\./,
  },
  {
    modelTypes: ['clvp'],
    parts: {
      decoder: { config: 'decoder_config', moves: [['', 'speech_decoder_model.']] },
      text: { config: 'text_config', moves: [['', 'text_encoder_model.']] },
      speech: { config: 'speech_config', moves: [['', 'speech_encoder_model.']] },
    },
    rest: /^(conditioning_encoder\.|logit_scale$)/,
  },
];

/** Which config is to be read, and how its family's tensors are found. */
export interface Unwrapped {
  readonly json: Record<string, unknown>;
  /** Path to it within the file, for messages. */
  readonly path: string;
  /** Keys that are known and not read. */
  readonly skip: readonly string[];
  /** To be added to the family's. */
  readonly own: Pick<Family, 'moves' | 'ignore'>;
}

/** The types that hold other models. */
export const WRAPPER_TYPES: readonly string[] = WRAPPERS.flatMap((wrapper) => wrapper.modelTypes);

/**
 * Finds the part that is meant.
 * @param part null: the wrapper's first.
 * @throws ConfigError for a part that there is not.
 */
export function unwrap(json: Record<string, unknown>, where: string, part: string | null): Unwrapped {
  const modelType = typeof json.model_type === 'string' ? json.model_type : '';
  if (Object.hasOwn(REFUSED_TYPES, modelType))
    throw new ConfigError(`${where}: models of type ${modelType} are not supported: ${REFUSED_TYPES[modelType]}`);
  const wrapper = WRAPPERS.find((row) => row.modelTypes.includes(modelType));
  if (!wrapper) {
    if (part !== null)
      throw new ConfigError(`${where}: a ${modelType} model has no parts, but "${part}" was asked for`);
    return { json, path: '', skip: [], own: {} };
  }
  const name = part ?? Object.keys(wrapper.parts)[0];
  if (!Object.hasOwn(wrapper.parts, name))
    throw new ConfigError(
      `${where}: a ${modelType} model has no part "${name}"; it has ${Object.keys(wrapper.parts).join(', ')}`,
    );
  const chosen = wrapper.parts[name];
  const others = Object.values(wrapper.parts).filter((other) => other !== chosen);
  const foreign = others.flatMap(({ moves }) => moves.map(([, to]) => to)).filter((to) => !isOwn(chosen, to));
  const own = {
    moves: chosen.moves,
    ignore: [
      ...(wrapper.rest ? [wrapper.rest] : []),
      ...foreign.map((to) => new RegExp(`^${to.replaceAll('.', '\\.')}`)),
    ],
  };
  const { config, orWhole } = chosen;
  if (config === null) return { json, path: '', skip: [], own };
  const nested = json[config];
  if (nested === undefined && orWhole) return { json, path: '', skip: wrapper.skip ?? [], own };
  if (!isObject(nested)) throw new ConfigError(`${where}: ${config} must be an object, but is ${show(nested)}`);
  const innerType = typeof nested.model_type === 'string' ? nested.model_type : '';
  const shared = Object.fromEntries(SHARED.filter((key) => json[key] !== undefined).map((key) => [key, json[key]]));
  const defaults = Object.hasOwn(NESTED_DEFAULTS, innerType) ? NESTED_DEFAULTS[innerType] : {};
  return { json: { ...defaults, ...shared, ...nested }, path: `: ${config}`, skip: [], own };
}

/** What the whole config may say for its parts. */
const SHARED = ['tie_word_embeddings', 'bos_token_id', 'eos_token_id', 'quantization_config'];

function isOwn(part: WrappedPart, to: string): boolean {
  return part.moves.some(([, own]) => own === to);
}
