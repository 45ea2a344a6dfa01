/**
 * @file From a parsed config.json to a checked {@link Config}, where its family is known.
 */
import type { Config } from '../config/config.ts';
import type { ConfigReader } from '../config/reader.ts';
import { ConfigError } from '../util/errors.ts';
import { show } from '../util/json/show.ts';
import type { Family } from './family.ts';
import type { FamilyConfig } from './layers.ts';

/** Keys that say nothing about the arithmetic of a forward pass: training, bookkeeping, generation defaults. */
const HARMLESS = new RegExp(
  `^(${[
    '_.*',
    'architectures|auto_map|model_type|transformers_version|torch_dtype|dtype|name_or_path|task_specific_params',
    'use_cache|return_dict|output_.*|is_decoder|is_encoder_decoder|add_cross_attention|gradient_checkpointing|use_return_dict',
    '.*(dropout|_pdrop|_drop)|.*dropout_prob|initializer_(range|factor)|.*_initializer_.*|init_.*|.*_init|embedding_init_std',
    'pad_token_id|sep_token_id|cls_token_id|unk_token_id|decoder_start_token_id|mask_token_id|.*_token_index',
    'id2label|label2id|num_labels|problem_type|finetuning_task|summary_.*|classifier_.*|router_aux_loss_coef|output_router_logits',
    'pretraining_tp|slow_but_exact|chunk_size_feed_forward|tokenizer_class|prefix|torchscript|tpu_.*',
    'temperature|top_k|top_p|typical_p|do_sample|max_length|min_length|num_beams|num_beam_groups|num_return_sequences|early_stopping',
    'length_penalty|repetition_penalty|diversity_penalty|no_repeat_ngram_size|encoder_no_repeat_ngram_size|bad_words_ids',
    'begin_suppress_tokens|suppress_tokens|exponential_decay_length_penalty|forced_.*|remove_invalid_values|tf_legacy_loss|use_bfloat16',
    'cross_attention_hidden_size|attn_implementation|unsloth_.*|fp32_.*|use_mems_.*|model_max_length|cache_implementation',
    'max_sequence_length|max_new_tokens|is_composition|is_llama_config|js_config|.*softmax_in_fp32|.*_fusion|skip_bias_add.*|offset_alibi',
  ].join('|')})$`,
);

/** A config and its family. */
export interface ReadConfig {
  readonly config: Config;
  readonly family: Family;
}

/** What a family says of a config.json, before its layers have records of their own. */
export interface ReadFamilyConfig {
  readonly said: FamilyConfig;
  readonly family: Family;
}

/**
 * @param r reads the family's part of the file.
 * @param skip keys that are known and not read.
 * @param name of the model, for messages.
 * @throws ConfigError names the key that is missing, wrong, unknown or not supported.
 */
export function readAs(
  family: Family,
  r: ConfigReader,
  { where, name, skip = [] }: { readonly where: string; readonly name: string; readonly skip?: readonly string[] },
): ReadFamilyConfig {
  r.skip(...skip);
  r.refuse('quantization_config', 'checkpoints that are quantized already are not read; use the original weights');
  const flat = { ...family.config(r), name };
  const unknown = r
    .unused()
    .filter(([key, value]) => !HARMLESS.test(key.slice(key.lastIndexOf('.') + 1)) && isSet(value));
  if (unknown.length > 0)
    throw new ConfigError(
      `${where}: ${unknown.slice(0, 6).map(stated).join(', ')}${unknown.length > 6 ? ` and ${unknown.length - 6} more` : ''}: ` +
        `not known to the family ${r.string('model_type')}, so results could differ from what the model was trained for; ` +
        'take out what is known to change nothing',
    );
  checkConfig(flat, where);
  return { said: flat, family };
}

const stated = ([key, value]: [key: string, value: unknown]): string => `${show(key).slice(1, -1)} = ${show(value)}`;

/** Values that switch nothing on. */
function isSet(value: unknown): boolean {
  if (typeof value === 'object') return value !== null && Object.keys(value).length > 0;
  return value !== false && value !== 0 && value !== '';
}

/** Contradictions that only the whole record shows. */
function checkConfig(config: FamilyConfig, where: string): void {
  const fail = (what: string): never => {
    throw new ConfigError(`${where}: ${what}`);
  };
  const { nLayer, nEmbd, nHead, nQueryGroups, headSize, moe } = config;
  const wide = moe ? moe.nExpert * moe.intermediateSize + moe.sharedSize : 0;
  const attention = 2 * nEmbd * (nHead + nQueryGroups) * headSize;
  const parameters = nLayer * (attention + 3 * nEmbd * Math.max(config.intermediateSize, wide));
  if (parameters > 4e12)
    fail(
      `${nLayer} layers of width ${nEmbd} make ${parameters.toExponential(1)} parameters; one of the sizes is wrong`,
    );
  if (nHead * headSize > 2 ** 24) fail(`${nHead} heads of ${headSize} are too wide; one of the sizes is wrong`);
  const parts = Math.max(nHead, moe?.nExpert ?? 0);
  if (nLayer * parts > 2 ** 17)
    fail(`${nLayer} layers with ${parts} heads or experts each are more than any model has; one of the sizes is wrong`);
  if (config.tieEmbeddings && config.embedRows !== config.vocabSize)
    fail(`tie_word_embeddings is true, but there are ${config.embedRows} embeddings and ${config.vocabSize} logits`);
  const never = config.suppressedTokens.find((id) => id >= config.vocabSize);
  if (never !== undefined) fail(`the suppressed token ${never} is not in the vocabulary of ${config.vocabSize}`);
  // Encoders end no text.
  const above = config.eosTokenIds.find((id) => id >= config.embedRows);
  if (above !== undefined && config.output === 'logits')
    fail(`eos_token_id ${above} is not in the vocabulary of ${config.embedRows}`);
}
