/**
 * @file The plan of a model of any family, at once.
 */
import type { Checkpoint } from '../checkpoint/types.ts';
import { readConfig } from '../families/read-config.ts';
import { FURTHER } from '../model/further.ts';
import type { GraphTarget } from '../ops/target.ts';
import { checkHas } from '../util/arguments.ts';
import { configName, type ModelPlan, planOf } from './model-plan.ts';
import { checkWeightChoice, type WeightChoice } from './weights/weight-choice.ts';

/**
 * Everything about a checkpoint that can be known without reading its weights: the config, the parameters and where
 * each of them comes from. Missing and left-over tensors are found here.
 * @throws ConfigError, CheckpointError: what is wrong with the files; InputError for a choice that there is not,
 * or what is no open checkpoint.
 */
export function planModel(
  checkpoint: Checkpoint,
  choice: WeightChoice = 'auto',
  part?: string,
  target?: GraphTarget,
): ModelPlan {
  checkHas('planModel', 'an open checkpoint, as openCheckpoint gives it', checkpoint, 'tensors');
  checkWeightChoice(choice);
  const read = readConfig(checkpoint.config, configName(checkpoint), part);
  return planOf(read, FURTHER, checkpoint, { choice, target });
}
