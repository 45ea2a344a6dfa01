/**
 * @file From an open checkpoint to a model that is ready to run; the same in Node and in the browser.
 */
import type { Checkpoint } from '../checkpoint/types.ts';
import type { Config } from '../config/config.ts';
import { readConfig } from '../config/from-hf.ts';
import { InputError, TokenizerError } from '../errors.ts';
import { ParamResolver } from '../families/resolve.ts';
import type { Param } from '../model/context.ts';
import { buildStep } from '../model/gpt.ts';
import { Stepper } from '../model/stepper.ts';
import type { Runtime } from '../runtime/types.ts';
import { ChatTemplate } from '../tokenizer/chat-template.ts';
import { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { PreparedWeights, RowSource, WeightFormat } from '../weights/types.ts';
import { LanguageModel } from './language-model.ts';

/** `auto`: float32 for small models, int8 for the others. */
export type WeightChoice = WeightFormat | 'auto';
export const WEIGHT_CHOICES: readonly WeightChoice[] = ['auto', 'f32', 'int8', 'int4'];

/** Up to this many parameters float32 costs little and changes nothing. */
const SMALL_MODEL = 100e6;

/** What is to be prepared, and how its rows are had. */
export interface PrepareRequest {
  readonly specs: readonly Param[];
  readonly format: WeightFormat;
  /** Says which checkpoint it is. */
  readonly identity: string;
  readonly source: (spec: Param) => RowSource;
}

export interface AssembleOptions {
  readonly checkpoint: Checkpoint;
  readonly runtime: Runtime;
  readonly weights?: WeightChoice;
  readonly threads?: number;
  readonly prepare: (request: PrepareRequest) => Promise<PreparedWeights>;
}

/**
 * @throws ConfigError, CheckpointError, TokenizerError, WeightsError: what is wrong with the files.
 */
export async function assembleModel(options: AssembleOptions): Promise<LanguageModel> {
  const { checkpoint, runtime } = options;
  const plan = planModel(checkpoint, options.weights);
  const { config, format } = plan;
  const tokenizerJson = await checkpoint.readJson('tokenizer.json');
  const tokenizerConfig = await checkpoint.readJson('tokenizer_config.json');
  const generationConfig = (await checkpoint.readJson('generation_config.json')) ?? {};
  const tokenizer = tokenizerJson ? Tokenizer.fromJson(tokenizerJson, tokenizerConfig ?? {}) : null;
  // Added tokens may lie beyond the model's, such as one for images in a model of text; they can't be written in a prompt.
  if (tokenizer && tokenizer.ownVocabSize > config.embedRows)
    throw new TokenizerError(
      `${checkpoint.name}: the tokenizer has ${tokenizer.ownVocabSize} tokens, but the model only ${config.embedRows}; ` +
        'they do not belong together',
    );
  const chatTemplate = ChatTemplate.of({
    jinja: await checkpoint.readText('chat_template.jinja'),
    config: tokenizerConfig,
    json: await checkpoint.readJson('chat_template.json'),
  });
  const weights = await options.prepare({
    specs: plan.params,
    format,
    identity: checkpoint.identity,
    source: (param) => plan.resolver.source(param),
  });
  const stepper = new Stepper(config, weights, format, runtime, { threads: options.threads });
  const fingerprint = `${await checkpoint.fingerprint()}:${format}`;
  return new LanguageModel({
    name: checkpoint.name,
    stepper,
    tokenizer,
    chatTemplate,
    format,
    fingerprint,
    generationConfig,
  });
}

/**
 * Everything about a checkpoint that can be known without reading its weights: the config, the parameters and where each
 * of them comes from. Missing and left-over tensors are found here.
 */
export function planModel(checkpoint: Checkpoint, choice: WeightChoice = 'auto') {
  if (!WEIGHT_CHOICES.includes(choice))
    throw new InputError(`there is no weight format "${choice}"; there are ${WEIGHT_CHOICES.join(', ')}`);
  const { config: stated, family } = readConfig(checkpoint.config, `${checkpoint.name}: config.json`);
  // A file without a head is a file with a tied one, whatever its config says.
  const headless = !new ParamResolver(checkpoint, family, stated).has('lm_head');
  const config = headless ? { ...stated, tieEmbeddings: true } : stated;
  const plain = paramsOf(config, 'f32');
  const resolver = new ParamResolver(checkpoint, family, config);
  for (const param of plain) resolver.source(param);
  resolver.checkLeftovers();
  const parameters = countParameters(plain);
  const format = chooseFormat(choice, parameters);
  return { config, family, format, params: format === 'f32' ? plain : paramsOf(config, format), parameters, resolver };
}

/** All parameters of a model, as they are stored in this format. */
export function paramsOf(config: Config, format: WeightFormat): readonly Param[] {
  return buildStep(config, { format, classes: 'kind', buffer: 'float32', sums: false, moments: false }).params;
}

/** What `auto` stands for in a model of this size. */
export function chooseFormat(choice: WeightChoice, parameters: number): WeightFormat {
  if (choice !== 'auto') return choice;
  return parameters <= SMALL_MODEL ? 'f32' : 'int8';
}

export function countParameters(params: readonly Param[]): number {
  return params.reduce((sum, param) => sum + param.shape.reduce((a, b) => a * b, 1), 0);
}
