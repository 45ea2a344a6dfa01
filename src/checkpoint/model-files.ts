/**
 * @file The small files of a checkpoint that a model is loaded from, beside its weights.
 */

/** All but the first may be absent. */
export const MODEL_FILES: readonly string[] = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  'chat_template.json',
];

/** Settings of quantizing that older tools wrote beside config.json, and their methods. */
export const QUANT_FILES = {
  'quantize_config.json': 'gptq',
  'quant_config.json': 'awq',
  'hf_quant_config.json': 'modelopt',
} as const;

/** Where sentence-transformers kept the model before version 2, beside the folders of its other modules. */
export const TRANSFORMER_FOLDER = '0_Transformer';
