/**
 * @file From an open checkpoint to a model that ranks texts; the same in Node and in the browser.
 */
import type { Checkpoint } from '../checkpoint/types.ts';
import { isEncoder } from '../config/config.ts';
import { readLogitScore, readTextSettings } from '../embed/modules.ts';
import { answerHead, type RankHead, readRankHead } from '../embed/rank-head.ts';
import { Reranker } from '../embed/reranker.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { ConfigError } from '../util/errors.ts';
import type { AssembleOptions } from './load.ts';
import { assembleHidden } from './load-encoder.ts';
import type { ModelPlan } from './model-plan.ts';

/**
 * @throws ConfigError, CheckpointError, TokenizerError, WeightsError, AdapterError: what is wrong with the files;
 * ConfigError for a model that can't rank.
 */
export async function assembleReranker(options: AssembleOptions): Promise<Reranker> {
  const { checkpoint } = options;
  const text = await readTextSettings(checkpoint);
  const { plan, encoder, tokenizer } = await assembleHidden(options, 'loadReranker');
  try {
    if (!tokenizer) throw new ConfigError(`${checkpoint.name} has no tokenizer.json, which a reranker needs`);
    const reads = isEncoder(plan.config) ? 'pair' : 'question';
    const head = await (reads === 'pair'
      ? headOfEncoder(checkpoint, plan)
      : headOfDecoder(checkpoint, plan, tokenizer));
    return new Reranker({ name: checkpoint.name, config: encoder.config, encoder, tokenizer, head, reads, text });
  } catch (error) {
    await encoder.dispose();
    throw error;
  }
}

function headOfEncoder(checkpoint: Checkpoint, { config, family }: ModelPlan): Promise<RankHead> {
  const { rankHead, prefixes = [] } = family;
  if (!rankHead)
    throw new ConfigError(`${checkpoint.name}: models of type ${config.name} have no head that ranks texts`);
  return readRankHead({
    ...rankHead,
    name: checkpoint.name,
    tensors: checkpoint.tensors,
    prefixes,
    pooling: checkpoint.config.classifier_pooling === 'mean' ? 'mean' : 'cls',
    width: config.nEmbd,
    eps: config.norm.eps,
  });
}

/** The rows of "yes" and "no". */
async function headOfDecoder(checkpoint: Checkpoint, plan: ModelPlan, tokenizer: Tokenizer): Promise<RankHead> {
  const { config, params, resolver } = plan;
  if (config.embedDim !== config.nEmbd || config.lmHeadBias || config.headNorm)
    throw new ConfigError(`${checkpoint.name}: models of type ${config.name} have more than a matrix for a head`);
  const name = config.tieEmbeddings ? 'wte.weight' : 'lm_head.weight';
  const head = resolver.source(params.find((param) => param.name === name)!);
  const rowOf = async (token: string): Promise<Float32Array> => {
    const id = tokenizer.tokenToId(token);
    if (id === undefined || id >= config.vocabSize)
      throw new ConfigError(
        `${checkpoint.name}: there is no token "${token}": it can't answer whether a text fits a query`,
      );
    return head.read(id, 1);
  };
  const scored = await readLogitScore(checkpoint);
  if (scored && (scored.yes !== tokenizer.tokenToId('yes') || scored.no !== tokenizer.tokenToId('no')))
    throw new ConfigError(
      `${checkpoint.name}: its score is the logit of tokens ${scored.yes} and ${scored.no}, but only rerankers that answer "yes" or "no", ` +
        'as Qwen3-Reranker does, are supported',
    );
  return answerHead(await rowOf('yes'), await rowOf('no'), config.logitScale, config.finalLogitSoftcapping);
}
