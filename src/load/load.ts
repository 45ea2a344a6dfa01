/**
 * @file From an open checkpoint to a model that is ready to run; the same in Node and in the browser.
 */
import type { OpenAdapter } from '../adapters/read/adapter-files.ts';
import type { Backend } from '../backends/types.ts';
import { loadOwnRenderer, loadRenderer, loadTemplates } from '../chat/renderer.ts';
import { namedTemplates } from '../chat/template-sources.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { type Config, isEncoder } from '../config/config.ts';
import type { CalibrationStore } from '../engine/calibration/calibrations.ts';
import { LanguageModel } from '../engine/language-model.ts';
import { loadFormats } from '../engine/text-format.ts';
import { Stepper } from '../step/stepper.ts';
import { Tokenizer } from '../tokenizer/tokenizer.ts';
import { InputError, TokenizerError } from '../util/errors.ts';
import { once } from '../util/once.ts';
import type { PreparedWeights } from '../weights/types.ts';
import type { AdapterRequest } from './adapters/adapted-plan.ts';
import { adaptPlan } from './adapters/load-adapters.ts';
import { openPlan, type PlanOptions, type PrepareRequest } from './model-plan.ts';
import type { WeightChoice } from './weights/weight-choice.ts';

/** What weights are prepared for. */
export interface PreparedModel {
  readonly config: Config;
  /** Reads the tokenizer. @throws TokenizerError */
  readonly tokenizer: () => Promise<Tokenizer | null>;
  /** Reads all that the model has besides weights, for where preparing them waits. @throws what is wrong with it. */
  readonly meanwhile: () => Promise<unknown>;
}

export interface AssembleOptions {
  readonly checkpoint: Checkpoint;
  /** Which model is meant, where the checkpoint holds several. @default the one that writes text, or the first, */
  readonly part?: string;
  readonly backend: Backend;
  readonly weights?: WeightChoice;
  readonly threads?: number;
  /**
   * Whether the checkpoint's generation_config.json counts where an option is not given.
   * @default true
   */
  readonly generationConfig?: boolean;
  readonly prepare: (request: PrepareRequest, model: PreparedModel) => Promise<PreparedWeights>;
  /** Whether `prepare` may call {@link PreparedModel.meanwhile}. @default false: that is done before */
  readonly preparesMeanwhile?: boolean;
  /**
   * When what only some requests need is loaded: `with-requests` is for a `ModelHost`, which loads formats and
   * templates before it generates.
   * @default 'at-once'
   */
  readonly requestModules?: 'at-once' | 'with-requests';
  /** Where calibrations are kept. @default in memory */
  readonly calibrations?: CalibrationStore;
  /** Adapters to merge, and adapters to keep live. */
  readonly adapters?: readonly AdapterRequest[];
  /** Opens an adapter that is loaded later by its path. */
  readonly openAdapter?: (path: string) => Promise<OpenAdapter>;
  /**
   * Opens the checkpoint again, for adapters that are loaded later. @default `checkpoint`, which must then stay open
   */
  readonly reopen?: () => Promise<Checkpoint>;
}

/**
 * @throws ConfigError, CheckpointError, TokenizerError, WeightsError, AdapterError: what is wrong with the files;
 * InputError for an encoder.
 */
export async function assembleModel(options: AssembleOptions): Promise<LanguageModel> {
  const { checkpoint, backend } = options;
  const { part } = options;
  const { target } = backend;
  // Modules come from the disk while the weights are planned and looked for.
  if (options.requestModules !== 'with-requests') Promise.all([loadFormats(), loadTemplates()]).catch(() => undefined);
  const plan = await openPlan(checkpoint, { choice: options.weights, part, target });
  const { config, format } = plan;
  if (isEncoder(config))
    throw new InputError(
      `${config.name} models are encoders, which write no text: use loadEncoder() instead of loadModel()`,
    );
  const tokenizer = once(() => readTokenizer(checkpoint, config));
  const texts = once(() => readTexts(options, tokenizer));
  const adapted = await adaptPlan(checkpoint, plan, options.adapters ?? []);
  try {
    if (!options.preparesMeanwhile) await texts();
    const weights = await options.prepare(adapted.request, { config: adapted.config, tokenizer, meanwhile: texts });
    const sessions = { threads: options.threads };
    const stepper = new Stepper({ config: adapted.config, format, parts: plan.parts }, weights, backend, sessions);
    const checkpointId = await checkpoint.fingerprint();
    const fingerprint = `${checkpointId}:${format}${adapted.fingerprint}`;
    const adapters = await adapted.adaptersFor(
      stepper,
      planner(options.reopen ?? staysOpen(checkpoint), { choice: format, part, target }),
      options.openAdapter,
    );
    return new LanguageModel({
      ...(await texts()),
      name: checkpoint.name,
      stepper,
      format,
      fingerprint,
      usesGenerationConfig: options.generationConfig ?? true,
      adapters,
      checkpoint: `${checkpointId}${adapted.fingerprint}`,
      calibrations: options.calibrations ?? null,
    });
  } finally {
    await adapted.close();
  }
}

/** Opens a checkpoint and plans it again. A function of its own: a model refers to it, and with it to all that it could read. */
function planner(open: () => Promise<Checkpoint>, options: PlanOptions) {
  return async () => {
    const checkpoint = await open();
    return { checkpoint, plan: await openPlan(checkpoint, options) };
  };
}

/** A checkpoint that is not opened again. */
const staysOpen = (checkpoint: Checkpoint) => async (): Promise<Checkpoint> => ({
  ...checkpoint,
  close: async () => {},
});

/** What a model reads and writes texts by. */
async function readTexts(
  { checkpoint, requestModules }: AssembleOptions,
  tokenizerOnce: () => Promise<Tokenizer | null>,
) {
  const tokenizer = await tokenizerOnce();
  const generationConfig = (await checkpoint.readJson('generation_config.json')) ?? {};
  const templates = namedTemplates({
    jinja: await checkpoint.readText('chat_template.jinja'),
    config: await checkpoint.readJson('tokenizer_config.json'),
    json: await checkpoint.readJson('chat_template.json'),
  });
  const atOnce = requestModules !== 'with-requests';
  if (atOnce) await loadFormats();
  const renderer = await (atOnce ? loadRenderer : loadOwnRenderer)(templates, tokenizer?.config ?? {});
  return { tokenizer, generationConfig, renderer };
}

/**
 * The tokenizer of a checkpoint; null where there is none.
 * @throws TokenizerError where it is damaged, or has tokens that the model does not have.
 */
export async function readTokenizer(checkpoint: Checkpoint, config: Config): Promise<Tokenizer | null> {
  const json = await checkpoint.readJson('tokenizer.json');
  if (!json) return null;
  const tokenizer = Tokenizer.fromJson(json, (await checkpoint.readJson('tokenizer_config.json')) ?? {});
  // Added tokens may lie beyond the model's, such as one for images in a model of text; they can't be written in a
  // prompt.
  if (tokenizer.ownVocabSize > config.embedRows)
    throw new TokenizerError(
      `${checkpoint.name}: the tokenizer has ${tokenizer.ownVocabSize} tokens, but the model only ${config.embedRows}; ` +
        'they do not belong together',
    );
  return tokenizer;
}
