/**
 * @file tokenizer.json and tokenizer_config.json, made of the vocabulary in a GGUF file.
 */
import { TokenizerError } from '../../../util/errors.ts';
import { parseJsonObject } from '../../../util/json/json.ts';
import { show } from '../../../util/json/show.ts';
import { byteLevelJson } from './byte-level.ts';
import { isCutByLines, sentencePieceJson } from './sentencepiece.ts';
import type { GgufVocabulary, Json } from './types.ts';
import { unigramJson } from './unigram.ts';
import { wordPieceJson } from './wordpiece.ts';

const BUILDERS: Readonly<Record<string, (vocabulary: GgufVocabulary) => Json>> = {
  gpt2: byteLevelJson,
  llama: sentencePieceJson,
  gemma4: sentencePieceJson,
  t5: unigramJson,
  bert: wordPieceJson,
};

/**
 * @throws TokenizerError for a kind of tokenizer that is not known.
 */
export function ggufTokenizerJson(vocabulary: GgufVocabulary): Json {
  const { model, huggingFaceJson } = vocabulary;
  if (huggingFaceJson !== null) {
    const where = "the GGUF file's tokenizer.huggingface.json";
    return parseJsonObject(huggingFaceJson, where, TokenizerError) as Json;
  }
  const build = isCutByLines(vocabulary) ? sentencePieceJson : Object.hasOwn(BUILDERS, model) ? BUILDERS[model] : null;
  if (!build)
    throw new TokenizerError(
      `the GGUF file's tokenizer.ggml.model is ${show(model)}; known are ${Object.keys(BUILDERS).join(', ')}`,
    );
  return build(vocabulary);
}

/** The names of special tokens in tokenizer_config.json. */
const CONFIG_KEYS = {
  bos: 'bos_token',
  eos: 'eos_token',
  unknown: 'unk_token',
  padding: 'pad_token',
  seperator: 'sep_token',
  cls: 'cls_token',
  mask: 'mask_token',
} as const;

export function ggufTokenizerConfig({ textOf, ids, chatTemplates }: GgufVocabulary): Json {
  const config: Json = { clean_up_tokenization_spaces: false };
  for (const [name, key] of Object.entries(CONFIG_KEYS)) if (name in ids) config[key] = textOf(ids[name]);
  const templates = Object.entries(chatTemplates);
  if (templates.length === 1 && templates[0][0] === 'default') config['chat_template'] = templates[0][1];
  else if (templates.length > 0) config['chat_template'] = templates.map(([name, template]) => ({ name, template }));
  return config;
}
