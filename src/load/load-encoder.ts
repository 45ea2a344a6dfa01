/**
 * @file From an open checkpoint to a model that embeds texts; the same in Node and in the browser.
 */
import { EncoderModel, embedConfig } from '../embed/encoder-model.ts';
import { readEmbedModules } from '../embed/modules.ts';
import { Encoder } from '../step/encoder-runner.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { InputError } from '../util/errors.ts';
import { once } from '../util/once.ts';
import { adaptPlan } from './adapters/load-adapters.ts';
import { type AssembleOptions, readTokenizer } from './load.ts';
import { type ModelPlan, openPlan } from './model-plan.ts';

/** A model that gives the hidden states of whole sequences. */
export interface HiddenModel {
  readonly plan: ModelPlan;
  readonly encoder: Encoder;
  readonly tokenizer: Tokenizer | null;
}

/**
 * @throws ConfigError, CheckpointError, TokenizerError, WeightsError, AdapterError: what is wrong with the files;
 * InputError for a model that can't embed.
 */
export async function assembleEncoder(options: AssembleOptions): Promise<EncoderModel> {
  const modules = await readEmbedModules(options.checkpoint);
  const { plan, encoder, tokenizer } = await assembleHidden(options, 'loadEncoder');
  return new EncoderModel({ name: options.checkpoint.name, config: plan.config, encoder, tokenizer, modules });
}

/** @param caller for messages. */
export async function assembleHidden(options: AssembleOptions, caller: string): Promise<HiddenModel> {
  const { checkpoint, backend, adapters = [], threads } = options;
  const live = adapters.find((adapter) => adapter.live);
  if (live) throw new InputError(`${caller} merges adapters into the weights: leave "live" of ${live.live!.name} out`);
  const plan = await openPlan(checkpoint, { choice: options.weights, part: options.part, target: backend.target });
  const tokenizerOnce = once(() => readTokenizer(checkpoint, plan.config));
  // The parameters stay those of the model that writes text: the weights that loadModel has prepared serve both.
  const adapted = await adaptPlan(checkpoint, { ...plan, config: embedConfig(plan.config) }, adapters);
  try {
    if (!options.preparesMeanwhile) await tokenizerOnce();
    const model = { config: plan.config, tokenizer: tokenizerOnce, meanwhile: tokenizerOnce };
    const weights = await options.prepare(adapted.request, model);
    const tokenizer = await tokenizerOnce();
    return {
      plan,
      tokenizer,
      encoder: new Encoder({ ...plan, config: adapted.config }, weights, backend, { threads }),
    };
  } finally {
    await adapted.close();
  }
}
